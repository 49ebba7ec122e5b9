"""Federated learning of tiny networks: clients keep their samples, a server keeps the mask, messages are bytes.

Nothing here knows Flower but the folder `flower`; whatever carries bytes can carry a course.
"""
