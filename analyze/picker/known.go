package picker

import "ephemera/rules"

// A known range is one from which somebody is known to pick ports.
type known struct {
	name  string
	ports rules.PortRange
	prior float64 // how likely it is before any port was seen
}

// Ranges that more than one kind of host uses.
var (
	// unprivileged are the ports that need no privilege: the widest range
	// that anybody picks from. A NAT gateway uses all of it. Source: VPC User
	// Guide, "Network ACLs", "Ephemeral ports".
	unprivileged = rules.PortRange{From: 1024, To: 65535}

	// linux is the default of net.ipv4.ip_local_port_range. Source: the
	// kernel's Documentation/networking/ip-sysctl.rst. (The VPC User Guide
	// says 61000.)
	linux = rules.PortRange{From: 32768, To: 60999}

	// linuxReuse is the lower half of it, where Linux looks first for the port
	// of a socket that listens with SO_REUSEADDR set and was bound to port 0;
	// the upper half is for when no port of the lower is free
	// (inet_csk_find_open_port in net/ipv4/inet_connection_sock.c).
	linuxReuse = rules.PortRange{From: 32768, To: 46883}

	// dynamic is IANA's range of dynamic ports (RFC 6335, section 6), the
	// default of Windows since Vista and Server 2008 (support.microsoft.com
	// 929851) and of macOS (net.inet.ip.portrange.first and .last).
	dynamic = rules.PortRange{From: 49152, To: 65535}
)

// clientRanges are where operating systems pick the ports of the
// connections that they open. The priors are judgements: Linux is the most
// common in AWS; a rule often sees a fleet of several systems; a few hosts
// have a range that somebody set.
var clientRanges = []known{
	{"Linux", linux, .5},
	{"Windows or macOS", dynamic, .3},
	{"Linux, Windows or macOS", rules.PortRange{From: 32768, To: 65535}, .15},
	{"any port", unprivileged, .05},
}

// serverRanges are where FTP servers pick passive ports unless they are
// configured, or cannot be. The rest of the prior is a configured range's:
// behind a firewall, a range is configured more often than not.
//
// FileZilla Server and IIS leave the choice to Windows by default; the range
// that FileZilla Server suggests, 49152-65534, lies in the same. ProFTPD
// without PassivePorts leaves it to the kernel, as do many others. vsftpd
// without pasv_min_port and pasv_max_port picks by itself from all
// unprivileged ports (its privops.c). AWS Transfer Family uses 8192-8200 (its
// User Guide, "Create an FTP-enabled server").
var serverRanges = []known{
	{"Linux: ProFTPD or others, not configured", linux, .06},
	{"Linux: listening with SO_REUSEADDR, not configured", linuxReuse, .04},
	{"vsftpd, not configured", unprivileged, .1},
	{"Windows: FileZilla Server or IIS, not configured", dynamic, .05},
	{"AWS Transfer Family", rules.PortRange{From: 8192, To: 8200}, .05},
}

// configuredPrior is how likely a server's passive range was configured,
// before any port was seen.
const configuredPrior = .7
