"""An emulated aarch64 board on this machine, behind the same doors as a real one: ssh, adb, and the emulator itself."""
