package flow

import "strconv"

// Proto is an IANA protocol number.
type Proto uint8

// The protocols that rules and reports name.
const (
	ICMP   Proto = 1
	TCP    Proto = 6
	UDP    Proto = 17
	ICMPv6 Proto = 58
)

// String gives "tcp", "udp", "icmp", "icmpv6", or the number.
func (p Proto) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMPv6:
		return "icmpv6"
	}
	return strconv.Itoa(int(p))
}

// HasPorts reports whether the protocol's ports mean something to rules.
func (p Proto) HasPorts() bool { return p == TCP || p == UDP }

// TCPFlags is the OR of the flags seen in one aggregation interval. VPC flow
// logs report FIN, SYN and RST, and ACK only together with SYN: test bits,
// never equality. A record of a long connection's middle has 0.
type TCPFlags uint8

// The flags that VPC flow logs report.
const (
	FIN TCPFlags = 1
	SYN TCPFlags = 2
	RST TCPFlags = 4
	ACK TCPFlags = 16
)

// Has reports whether all bits of f are set.
func (t TCPFlags) Has(f TCPFlags) bool { return t&f == f }

// Action is the verdict of security groups and network ACLs together.
type Action uint8

// The values of the field action; the zero Action is "-".
const (
	NoAction Action = iota
	Accept
	Reject
)

func (a Action) String() string { return [...]string{"-", "ACCEPT", "REJECT"}[a] }

// LogStatus tells whether records of the interval are complete.
type LogStatus uint8

// The values of the field log-status. A format without the field has OK.
const (
	OK       LogStatus = iota
	NoData             // no traffic in the interval
	SkipData           // records were lost inside AWS
)

func (s LogStatus) String() string { return [...]string{"OK", "NODATA", "SKIPDATA"}[s] }

// Direction is the way of packets relative to the network interface.
type Direction uint8

// The values of the field flow-direction; the zero Direction is "-".
const (
	NoDirection Direction = iota
	Ingress
	Egress
)

// Reverse returns the other direction; NoDirection stays.
func (d Direction) Reverse() Direction {
	switch d {
	case Ingress:
		return Egress
	case Egress:
		return Ingress
	}
	return NoDirection
}

func (d Direction) String() string { return [...]string{"-", "ingress", "egress"}[d] }
