"""A shared library that leaves a mark wherever it is loaded: the file /marks/NAME, after the program that did."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void mark(void) {
    char name[64] = "", path[128];
    int fd = open("/proc/self/comm", O_RDONLY);
    if (fd >= 0) {
        int length = read(fd, name, sizeof name - 1);
        if (length > 0)
            name[length - 1] = 0;
        close(fd);
    }
    snprintf(path, sizeof path, "/marks/%s", name[0] ? name : "unknown");
    close(open(path, O_CREAT | O_WRONLY, 0666));
}
"""


def compiled(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "libevil.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"], input=_SOURCE, text=True, check=True)
    return library
