# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print ``works``, or why not: can a guest really run under KVM here? /dev/kvm and libvirt may promise what no guest gets.

The guest is a boot sector on the host's own CPU model, as servers get it. It turns on paging and 64-bit mode, as every kernel does,
and leaves QEMU through an exit port. Another accelerator and CPU model may be named as arguments.
"""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import tempfile

# .code16: cli; cld; xor %eax,%eax; mov %ax,%ds; mov %ax,%es
# page tables at 0x1000, the first 2 MiB mapped: mov $0x1000,%edi; mov %edi,%cr3; mov $0xc00,%cx; rep stosl;
#   movw $0x2003,0x1000; movw $0x3003,0x2000; movw $0x83,0x3000
# PAE, long mode, paging: mov $0x20,%al; mov %eax,%cr4; mov $0xc0000080,%ecx; rdmsr; or $0x100,%ax; wrmsr;
#   lgdtw gdtr; mov %cr0,%eax; or $0x80000001,%eax; mov %eax,%cr0; ljmpw $8,$long; gdtr, gdt
# .code64 long: mov $0x10,%al; out %al,$0xf4; 1: hlt; jmp 1b
BOOT_SECTOR = bytes.fromhex(
    "fafc6631c08ed88ec066bf001000000f22dfb9000c66f3abc70600100320c70600200330c70600308300b0200f22e066b9800000c00f32"
    "0d00010f300f0116527c0f20c0660d010000800f22c0ea687c08000f00587c0000000000000000000000000000009a2000b010e6f4f4eb"
    "fd"
)
EXIT_CODE = 0x10 << 1 | 1
SECONDS = 10


def probe(accelerator: str = "kvm", cpu: str = "host") -> str:
    if platform.machine() != "x86_64":
        return f"{platform.machine()} is not probed; set hypervisor_kvm to true or false"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # QEMU may abort
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa")
        disk.flush()
        command = [
            *("qemu-system-x86_64", "-accel", accelerator, "-cpu", cpu, "-m", "16", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive", f"file={disk.name},format=raw,if=ide"),
        ]
        try:
            guest = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"the guest did not end within {SECONDS} seconds"
    if guest.returncode == EXIT_CODE:
        return "works"
    return f"QEMU ended with {guest.returncode}: {' '.join(guest.stderr.split())}"


if __name__ == "__main__":
    print(probe(*sys.argv[1:]))
