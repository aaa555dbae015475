"""The iPXE script that the Tinkerbell server hands to a machine, with the same kernel command line."""

import dataclasses
import re

_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")


@dataclasses.dataclass
class Boot:
    """What goes into the script. None: taken from the address under which the script was asked for."""

    download_url: str = None
    grpc_authority: str = None
    syslog_host: str = ""
    facility: str = ""
    tls: bool = False
    insecure_tls: bool = False
    arch: str = "x86_64"
    kernel: str = "vmlinuz-${arch}"
    initrd: str = "initramfs-${arch}"
    vlan_id: str = ""
    worker_id: str = None  # None: the MAC
    extra: list = dataclasses.field(default_factory=list)  # further kernel parameters
    retries: int = 5
    retry_delay_s: int = 1


def mac_of(text):
    """A MAC in lower case with colons, or None: `52-54-...` and `52%3A54...` are understood."""
    mac = text.lower().replace("%3a", ":").replace("-", ":")
    return mac if _MAC.match(mac) else None


def command_line(boot, mac):
    """The kernel parameters, in the real server's order."""
    words = [f"vlan_id={boot.vlan_id}"] if boot.vlan_id else []
    words += [
        f"facility={boot.facility}",
        f"syslog_host={boot.syslog_host}",
        f"grpc_authority={boot.grpc_authority}",
        f"tinkerbell_tls={str(boot.tls).lower()}",
        f"tinkerbell_insecure_tls={str(boot.insecure_tls).lower()}",
        f"worker_id={boot.worker_id or mac}",
        f"hw_addr={mac}",
        "modules=loop,squashfs,sd-mod,usb-storage",
        "intel_iommu=on",
        "iommu=pt",
        "initrd=${initrd}",
        "console=tty0",
        "console=ttyS1,115200",
    ]
    return " ".join(words + list(boot.extra))


def script(boot, mac):
    """The script for a machine; boot has no None in it."""

    def step(name, command, then):
        # iseq stops the machine at the last try; else count, wait and go round.
        return (f":{name}\n{command} && goto {then} || iseq ${{try}} ${{retries}} && goto failed || "
                f"inc try && echo {name} failed, again in ${{pause}} s ; sleep ${{pause}} ; goto {name}\n")

    return "\n".join([
        "#!ipxe",
        *([f"set syslog {boot.syslog_host}"] if boot.syslog_host else []),
        "echo Loading the installer ...",
        f"set arch {boot.arch}",
        f"set download-url {boot.download_url}",
        f"set kernel {boot.kernel}",
        f"set initrd {boot.initrd}",
        f"set retries:int32 {boot.retries}",
        f"set pause:int32 {boot.retry_delay_s}",
        "",
        "set try:int32 0",
        step("load_kernel", f"kernel ${{download-url}}/${{kernel}} {command_line(boot, mac)}", "begin_initrd"),
        ":begin_initrd",
        "set try:int32 0",
        step("load_initrd", "initrd ${download-url}/${initrd}", "begin_boot"),
        ":begin_boot",
        "boot",
        "",
        ":failed",
        "echo Loading the installer failed",
        "imgfree",
        "exit",
        "",
    ])
