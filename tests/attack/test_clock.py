"""The clock is the host's: no way of setting it is open."""

from prison import Prison

SCRIPT = """
import time
attempt("clock_settime", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time() + 86400))
report("settimeofday", struct.pack("qq", 1, 0), None)
timex = ctypes.create_string_buffer(struct.pack("Iq", 0x0001, 1), 256)
report("adjtimex", timex)
attempt("rtc", lambda: os.close(os.open("/dev/rtc0", os.O_RDWR)))
"""


def test_it_cannot_be_set(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["clock_settime"] == found["settimeofday"] == found["adjtimex"] == "EPERM" and found["rtc"] == "ENOENT"
