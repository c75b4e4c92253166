"""The four sites.  Each number is what such a network could plausibly show; none was chosen by looking at a
detector."""

from datasets_registry.synthetic.containers import PCAP, PCAP_NANOSECOND, PCAPNG
from datasets_registry.synthetic.floods import Amplification, HttpFlood, SlowHttp, SynFlood, UdpFlood
from datasets_registry.synthetic.guessing import DesktopGuessing, SshGuessing, SshSlowGuessing, TelnetGuessing
from datasets_registry.synthetic.industrial import Heartbeat, ModbusPolling, ModbusVisit, PersistentTelemetry, Telemetry
from datasets_registry.synthetic.network import (
    ANDROID,
    APPLE,
    CDN,
    EMBEDDED,
    FREEBSD,
    LINUX,
    OLD_LINUX,
    OLD_WINDOWS,
    PLC,
    SERVER,
    WINDOWS,
    WINDOWS_SERVER,
    Link,
)
from datasets_registry.synthetic.plan import Activity, Campaign, HostGroup, Place, ServerRole
from datasets_registry.synthetic.remote import Desktop, OnionCircuit, SecureShell, SecureShellFailure
from datasets_registry.synthetic.scans import HostSweep, PortScan, ServiceScan, UdpScan
from datasets_registry.synthetic.services import (
    Announcements,
    Directory,
    Failure,
    FileShare,
    Lease,
    Lookup,
    Monitor,
    Ntp,
    Ping,
    Syslog,
)
from datasets_registry.synthetic.stealth import (
    Beacon,
    DnsExfiltration,
    LateralMovement,
    ModbusTampering,
    WebAttack,
    WebExfiltration,
)
from datasets_registry.synthetic.web import Imap, SiteVisit, Submission, Transfer, Video, Web

MEGABIT = 125_000.0
DAY = 86_400
MONDAY = 1_709_510_400  # 4 March 2024, 00:00 UTC


OFFICE_WORKSTATIONS = (
    Activity(Web(quic=0.25), 1.8),
    Activity(Lookup(), 2.4),
    Activity(Imap(), 0.5),
    Activity(Submission(), 0.3),
    Activity(Transfer("upload", "cloud", up=7000.0), 0.6),
    Activity(Transfer("update", "web", down=12_000.0, pieces=1.5), 0.2),
    Activity(Directory(), 2.0),
    Activity(FileShare(), 0.6),
    Activity(Telemetry(report=650.0, answer=300.0), 1.6),
    Activity(Desktop(), 0.25),
    Activity(Video(), 0.1),
    Activity(Announcements(), 1.4),
    Activity(Ntp(), 0.4),
    Activity(Lease(), 0.2),
    Activity(Failure(), 0.6),
    Activity(Failure("files", 445, silent=0.3), 0.2),
)

OFFICE_ADMINS = (
    Activity(SecureShell(), 1.6),
    Activity(SecureShellFailure(), 0.4),
    Activity(Ping(), 2.0),
    Activity(Monitor("workstations"), 3.0),
)

OFFICE = Place(
    name="synthetic_office",
    subnet=(10, 20),
    first_day=MONDAY,
    lan=Link(rtt=0.0006, spread=0.3, jitter=0.0001, loss=0.00005, rate=900 * MEGABIT),
    wan=Link(rtt=0.018, spread=0.6, jitter=0.0012, loss=0.0006, rate=120 * MEGABIT, hops=11),
    container=PCAPNG,
    groups=(
        HostGroup("workstations", 70, (3, 9), (WINDOWS, WINDOWS, WINDOWS, APPLE), OFFICE_WORKSTATIONS),
        HostGroup("admins", 4, (1, 2), (LINUX,), OFFICE_ADMINS),
        HostGroup(
            "visitors", 160, (2, 7), (WINDOWS, APPLE, ANDROID, LINUX), (Activity(SiteVisit(), 2.2),), inside=False
        ),
    ),
    servers=(
        ServerRole("resolver", 2, (WINDOWS_SERVER,), inside=True),
        ServerRole("controller", 2, (WINDOWS_SERVER,), inside=True),
        ServerRole("files", 3, (WINDOWS_SERVER,), inside=True),
        ServerRole("desktops", 6, (WINDOWS_SERVER,), inside=True),
        ServerRole("shell", 5, (SERVER,), inside=True),
        ServerRole("public", 1, (SERVER,), inside=True),
        ServerRole("mail", 2, (SERVER,)),
        ServerRole("web", 260, (CDN, CDN, SERVER, FREEBSD)),
        ServerRole("cloud", 24, (CDN, SERVER, WINDOWS_SERVER)),
        ServerRole("video", 6, (CDN,)),
        ServerRole("ntp", 4, (SERVER,)),
    ),
    campaigns=(
        Campaign(PortScan("workstations", pace=0.03), "workstations", captures=3, flows=72),
        Campaign(SynFlood("public", port=443, pace=0.004), "visitors", captures=3, flows=79),
        Campaign(HttpFlood(), "visitors", captures=3, flows=43, machines=4),
        Campaign(WebAttack(), "visitors", captures=5, flows=31, machines=3),
        Campaign(DesktopGuessing(), "workstations", captures=3, flows=43),
        Campaign(LateralMovement("workstations"), "workstations", captures=4, flows=30),
        Campaign(Beacon(period=60.0, jitter=0.2), "workstations", captures=6, flows=29, machines=2),
        Campaign(DnsExfiltration(), "workstations", captures=4, flows=43),
        Campaign(WebExfiltration(piece=9000.0), "workstations", captures=4, flows=30),
    ),
)

HOME_PHONES = (
    Activity(Web(quic=0.45, response=2200.0, request=480), 3.4),
    Activity(Video(), 0.25),
    Activity(Imap(messages=1.2), 0.8),
    Activity(Lookup(), 3.0),
    Activity(Telemetry(report=800.0, answer=400.0), 2.0),
    Activity(Transfer("upload", "cloud", up=12_000.0), 0.8),
    Activity(Transfer("update", "web", down=9_000.0), 0.3),
    Activity(Announcements(v6=True), 2.5),
    Activity(Lease(), 0.5),
    Activity(Failure(), 0.8),
)

HOME_THINGS = (
    Activity(Telemetry(), 2.0),
    Activity(Heartbeat(), 1.0),
    Activity(Lookup(text_share=0.0), 1.6),
    Activity(Ntp(), 1.4),
    Activity(Announcements(v6=True), 1.2),
    Activity(Transfer("upload", "cloud", up=9000.0, pieces=1.6), 0.8),
    Activity(Lease(), 0.3),
    Activity(Failure("cloud", 443), 0.4),
    Activity(PersistentTelemetry(), None),
)

HOME = Place(
    name="synthetic_home",
    subnet=(192, 168),
    first_day=MONDAY + 33 * DAY,
    lan=Link(rtt=0.004, spread=0.5, jitter=0.002, loss=0.003, rate=60 * MEGABIT, mss=1452),
    wan=Link(rtt=0.038, spread=0.5, jitter=0.004, loss=0.002, rate=40 * MEGABIT, mss=1452, hops=13),
    container=PCAP,
    v6_share=0.35,
    groups=(
        HostGroup("phones", 12, (1, 4), (ANDROID, APPLE, WINDOWS), HOME_PHONES),
        HostGroup("things", 34, (4, 11), (EMBEDDED, EMBEDDED, OLD_LINUX, LINUX), HOME_THINGS),
    ),
    servers=(
        ServerRole("resolver", 1, (OLD_LINUX,), inside=True),
        ServerRole("web", 220, (CDN, CDN, SERVER)),
        ServerRole("cloud", 18, (SERVER, CDN, FREEBSD)),
        ServerRole("video", 8, (CDN,)),
        ServerRole("mail", 3, (SERVER,)),
        ServerRole("ntp", 6, (SERVER, FREEBSD)),
    ),
    campaigns=(
        Campaign(HostSweep(), "things", captures=4, flows=65, machines=2),
        Campaign(TelnetGuessing("things"), "things", captures=4, flows=33),
        Campaign(PortScan("things", pace=0.2, filtered=0.05), "phones", captures=3, flows=65),
        Campaign(
            SynFlood("cloud", port=443, pace=0.01, forged=False, window=None),
            "things",
            captures=3,
            flows=65,
            machines=3,
        ),
        Campaign(UdpFlood(sizes=(512, 1024), pace=0.015), "things", captures=4, flows=65, machines=3),
        Campaign(Amplification("phones"), "phones", captures=3, flows=58),
        Campaign(Beacon(period=40.0, request=310.0, answer=180.0), "things", captures=6, flows=33, machines=2),
        Campaign(WebExfiltration(piece=14_000.0), "things", captures=5, flows=24),
        Campaign(DnsExfiltration(piece=62.0, pace=2.0), "things", captures=3, flows=43),
    ),
)

FACTORY_STATIONS = (
    Activity(Web(quic=0.0, plain=0.3, connections=1.8, response=2000.0), 1.5),
    Activity(SecureShell(batch=0.6), 0.9),
    Activity(SecureShellFailure(scripted=0.7), 0.5),
    Activity(FileShare("history"), 1.0),
    Activity(Transfer("upload", "cloud", up=6000.0), 0.5),
    Activity(Telemetry(report=520.0), 2.5),
    Activity(SiteVisit(tls=0.2, response=1800.0), 2.0),
    Activity(Lookup(), 3.0),
    Activity(Failure(), 1.2),
    Activity(ModbusVisit(writes=0.3), 1.5),
    Activity(Ping(size=32), 1.0),
    Activity(Announcements(), 1.6),
)

FACTORY_PANELS = (
    Activity(ModbusVisit(), 12.0),
    Activity(ModbusPolling(), 1.4),
    Activity(Failure("cloud", 502, silent=0.7), 0.4),
    Activity(Ntp(), 1.0),
)
FACTORY_COLLECTORS = (
    Activity(Monitor("controllers"), 18.0),
    Activity(Ping(), 6.0),
    Activity(Transfer("history", "history", up=1500.0), 4.0),
)
FACTORY_GATEWAYS = (
    Activity(Telemetry(report=700.0), 4.0),
    Activity(Syslog(), None),
    Activity(Ntp(), 1.5),
    Activity(Lookup(text_share=0.0), 3.0),
)

FACTORY = Place(
    name="synthetic_factory",
    subnet=(172, 20),
    first_day=MONDAY + 98 * DAY,
    lan=Link(rtt=0.0015, spread=0.5, jitter=0.0004, loss=0.0004, rate=80 * MEGABIT),
    wan=Link(rtt=0.075, spread=0.4, jitter=0.008, loss=0.004, rate=8 * MEGABIT, mss=1360, hops=14),
    container=PCAP,
    vlan=110,
    padded=True,
    groups=(
        HostGroup("panels", 16, (2, 5), (OLD_WINDOWS, OLD_WINDOWS, EMBEDDED), FACTORY_PANELS),
        HostGroup("stations", 14, (2, 4), (WINDOWS, OLD_WINDOWS, LINUX), FACTORY_STATIONS),
        HostGroup("collectors", 4, (1, 2), (SERVER,), FACTORY_COLLECTORS),
        HostGroup("gateways", 8, (2, 3), (EMBEDDED, OLD_LINUX), FACTORY_GATEWAYS),
    ),
    servers=(
        ServerRole("controllers", 26, (PLC, PLC, EMBEDDED), inside=True),
        ServerRole("resolver", 1, (SERVER,), inside=True),
        ServerRole("history", 2, (WINDOWS_SERVER,), inside=True),
        ServerRole("shell", 5, (OLD_LINUX,), inside=True),
        ServerRole("public", 3, (EMBEDDED, OLD_LINUX), inside=True),
        ServerRole("logs", 1, (SERVER,), inside=True),
        ServerRole("ntp", 1, (SERVER,), inside=True),
        ServerRole("web", 60, (CDN, SERVER)),
        ServerRole("cloud", 8, (SERVER, WINDOWS_SERVER)),
    ),
    campaigns=(
        Campaign(PortScan("controllers", pace=0.3, filtered=0.3), "stations", captures=3, flows=65),
        Campaign(UdpScan("controllers"), "stations", captures=3, flows=51),
        Campaign(SynFlood("controllers", port=502, pace=0.02, forged=False), "gateways", captures=3, flows=65),
        Campaign(ModbusTampering(), "stations", captures=6, flows=33),
        Campaign(SshSlowGuessing(pace=14.0), "gateways", captures=4, flows=30, machines=2),
        Campaign(SlowHttp(every=15.0), "stations", captures=4, flows=30),
        Campaign(Beacon(period=50.0, request=560.0, answer=220.0), "gateways", captures=5, flows=29, machines=2),
        Campaign(DnsExfiltration(piece=90.0, pace=2.5), "stations", captures=4, flows=43),
        Campaign(WebExfiltration(piece=7000.0), "stations", captures=4, flows=30),
    ),
)

CAMPUS_DEVICES = (
    Activity(Web(quic=0.35, connections=2.2), 2.2),
    Activity(Video(), 0.15),
    Activity(Imap(), 0.6),
    Activity(Submission(), 0.25),
    Activity(Lookup(), 3.0),
    Activity(SecureShell(batch=0.3), 0.3),
    Activity(OnionCircuit(), 0.3),
    Activity(Transfer("upload", "cloud", up=10_000.0), 0.5),
    Activity(Telemetry(report=700.0, answer=350.0), 1.4),
    Activity(Announcements(v6=True), 2.0),
    Activity(Lease(), 0.5),
    Activity(Ntp(), 0.4),
    Activity(Failure(silent=0.7), 0.7),
)

CAMPUS = Place(
    name="synthetic_campus",
    subnet=(10, 60),
    first_day=MONDAY + 182 * DAY,
    lan=Link(rtt=0.002, spread=0.6, jitter=0.0006, loss=0.0008, rate=250 * MEGABIT),
    wan=Link(rtt=0.045, spread=0.8, jitter=0.002, loss=0.001, rate=80 * MEGABIT, hops=12),
    container=PCAP_NANOSECOND,
    v6_share=0.5,
    groups=(
        HostGroup("devices", 140, (4, 10), (APPLE, ANDROID, LINUX, WINDOWS), CAMPUS_DEVICES),
        HostGroup(
            "researchers",
            40,
            (2, 5),
            (LINUX, APPLE),
            (Activity(SecureShell(), 1.2), Activity(SecureShellFailure(), 0.9)),
            inside=False,
        ),
        HostGroup(
            "visitors",
            220,
            (3, 8),
            (WINDOWS, APPLE, ANDROID, LINUX, OLD_LINUX),
            (Activity(SiteVisit(tls=0.8, response=3600.0), 2.2),),
            inside=False,
        ),
        HostGroup("monitors", 3, (1, 1), (SERVER,), (Activity(Ping(), 6.0), Activity(Monitor("public"), 12.0))),
    ),
    servers=(
        ServerRole("resolver", 3, (SERVER,), inside=True),
        ServerRole("shell", 9, (SERVER, OLD_LINUX), inside=True),
        ServerRole("public", 5, (SERVER, FREEBSD), inside=True),
        ServerRole("ntp", 2, (FREEBSD,), inside=True),
        ServerRole("mail", 3, (SERVER,)),
        ServerRole("web", 320, (CDN, SERVER, SERVER, FREEBSD)),
        ServerRole("cloud", 30, (CDN, SERVER)),
        ServerRole("video", 9, (CDN,)),
        ServerRole("relay", 40, (LINUX, SERVER, FREEBSD)),
    ),
    campaigns=(
        Campaign(PortScan("public", pace=0.5, filtered=0.6), "visitors", captures=3, flows=65),
        Campaign(HostSweep(ports=(22, 445, 3389), pace=0.15, raw=False), "devices", captures=3, flows=58),
        Campaign(ServiceScan("shell"), "visitors", captures=3, flows=40, machines=2),
        Campaign(SynFlood("public", port=443, pace=0.006, window=None), "visitors", captures=3, flows=72, machines=3),
        Campaign(SshGuessing(), "researchers", captures=4, flows=33, machines=2),
        Campaign(SshSlowGuessing(pace=10.0), "researchers", captures=4, flows=33, machines=4),
        Campaign(WebAttack(tls=0.8, response=3600.0), "visitors", captures=5, flows=29, machines=3),
        Campaign(SlowHttp(every=10.0, pieces=(2, 120), patience=60.0), "visitors", captures=3, flows=40, machines=2),
        Campaign(Amplification("devices", services=((53, 900), (123, 440))), "visitors", captures=3, flows=51),
        Campaign(
            Beacon(period=35.0, jitter=0.5, request=420.0, answer=330.0), "devices", captures=5, flows=29, machines=2
        ),
        Campaign(WebExfiltration(piece=12_000.0, pace=12.0), "devices", captures=4, flows=30),
    ),
)

SITES = {site.name: site for site in (OFFICE, HOME, FACTORY, CAMPUS)}
