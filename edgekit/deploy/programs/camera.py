"""Pictures of a camera, by picamera2 (the Raspberry Pi's own cameras) or OpenCV (USB cameras)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekit.deploy.programs.refusal import MISSING, Refusal

FIRST = "0"


def frames(device: str) -> Iterator[Any]:
    """`x_HWC` uint8 RGB without end. `device` is a number or a path such as /dev/video2, which OpenCV opens; the first camera is
    picamera2's where that is installed and sees one."""
    if device == FIRST:
        with suppress(ImportError):
            from picamera2 import Picamera2

            if Picamera2.global_camera_info():
                return of_picamera2(Picamera2())
    try:
        import cv2
    except ImportError:
        hint = "sudo apt install python3-picamera2, or python3-opencv for a USB camera"
        raise Refusal(f"a camera needs one of two libraries: {hint}", MISSING) from None
    camera = cv2.VideoCapture(int(device) if device.isdecimal() else device)
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return of_opencv(camera, device)


def of_picamera2(camera: Any) -> Iterator[Any]:
    # Its name for bytes that lie in the order R, G, B.
    camera.configure(camera.create_preview_configuration({"format": "BGR888", "size": (640, 480)}))
    camera.start()
    try:
        while True:
            yield camera.capture_array()
    finally:
        camera.stop()


def of_opencv(camera: Any, device: str) -> Iterator[Any]:
    try:
        if not camera.isOpened():
            raise Refusal(f"no camera answers at {device}: there are {' '.join(map(str, cameras())) or 'none'}")
        while True:
            camera.grab()  # what was kept is as old as the last look
            taken, bgr_HWC = camera.read()
            if not taken:
                raise Refusal(f"the camera {device} gives no more pictures")
            yield bgr_HWC[:, :, ::-1]
    finally:
        camera.release()


def cameras() -> list[Path]:
    """That V4L2 knows of."""
    return sorted(Path("/dev").glob("video*"))
