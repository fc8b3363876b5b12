"""Wheel of the native extension; run by build.sh inside PJSIP's own pjsip-apps/src/swig/python folder."""

import os
import subprocess

from setuptools import Extension, setup


def flags(target: str) -> list[str]:
    """What PJSIP's configured tree says about one of its make variables."""
    out = subprocess.run(
        ["make", "--no-print-directory", "-f", "helper.mak", target], check=True, capture_output=True, text=True
    )
    return out.stdout.split()


# Python's own build flags define NDEBUG; PJSIP's headers must be read with the setting its library was built with.
ASSERTIONS = ["-UNDEBUG"] if os.environ["OFFHOOK_ASSERTIONS"] == "1" else ["-DNDEBUG"]

setup(
    name="offhook-pjsua2",
    version=os.environ["OFFHOOK_PJ_VERSION"],
    description="PJSIP's pjsua2 with Offhook's native audio port",
    license="GPL-2.0-or-later",
    py_modules=["offhook_pjsua2"],
    ext_modules=[
        Extension(
            "_offhook_pjsua2",
            ["ring_port.cpp", "sip_gate.cpp", "offhook_pjsua2_wrap.cpp"],
            libraries=flags("libs"),
            extra_compile_args=[*flags("cflags"), "-O1", "-g0", "-Wno-unused", *ASSERTIONS],
            extra_link_args=[*flags("ldflags"), "-s"],
        )
    ],
)
