package traffic

import (
	"fmt"
	"math/rand/v2"
)

// Names of what there is one of.
const (
	accountID = "123456789012"
	region    = "us-east-1"
	vpcID     = "vpc-0c4e1a5b7d2f90836"
	flowLogID = "fl-07d5b3e9a1c86f240"
	vpcCIDR   = "10.20.0.0/16"
)

// tier is what the interfaces of a subnet are there for.
type tier uint8

const (
	edge   tier = iota // load balancers, public
	nat                // NAT gateways, public
	web                // behind the load balancers
	app                // services
	work               // workers
	batch              // FTP clients
	data               // databases and caches
	search             // search and collectors of system logs
	numTiers
)

const zones = 3

// tierTable gives each tier's name, and its share in percent of the
// interfaces that are no NAT gateway.
var tierTable = [numTiers]struct {
	name  string
	share int
}{
	edge: {"edge", 3}, nat: {"nat", 0}, web: {"web", 20}, app: {"app", 30},
	work: {"work", 16}, batch: {"batch", 10}, data: {"data", 13}, search: {"search", 8},
}

var zoneTable = [zones]struct{ az, azID string }{
	{"us-east-1a", "use1-az4"}, {"us-east-1b", "use1-az6"}, {"us-east-1c", "use1-az1"},
}

func (t tier) public() bool { return t == edge || t == nat }

// subnet is one tier in one zone.
type subnet struct {
	id   string
	tier tier
	zone int
}

// cidr is the subnet's 2,048 addresses.
func (s *subnet) base() uint32 {
	return 10<<24 | 20<<16 | uint32(s.zone*int(numTiers)+int(s.tier))<<11
}

// iface is a network interface.
type iface struct {
	id         string
	subnet     *subnet
	addr       uint32
	public     uint32 // 0 if it has no public address
	instanceID string // empty for what AWS manages
	gatewayID  string // of a NAT gateway
	idle       bool   // a standby, never used

	// phase is when the interface's windows begin, in seconds of a minute.
	phase int64
}

// network is the VPC.
type network struct {
	subnets    []*subnet // by zone, then tier
	interfaces []*iface
	tiers      [numTiers][]int // interfaces that are used, the popular ones first
	gateways   [zones]int
}

func newNetwork(rnd *rand.Rand, interfaces int) *network {
	n := &network{}
	for zone := range zones {
		for t := range numTiers {
			n.subnets = append(n.subnets, &subnet{id: newID(rnd, "subnet"), tier: t, zone: zone})
		}
	}
	for zone := range zones {
		n.gateways[zone] = len(n.interfaces)
		n.add(rnd, nat, zone)
	}
	rest := interfaces - zones
	for t := range numTiers {
		for k := range rest * tierTable[t].share / 100 {
			n.add(rnd, t, k%zones)
		}
	}
	for k := 0; len(n.interfaces) < interfaces; k++ {
		n.add(rnd, app, k%zones)
	}
	n.choose(rnd)
	return n
}

// add adds an interface with the next address of its subnet; AWS keeps the
// first four.
func (n *network) add(rnd *rand.Rand, t tier, zone int) {
	s := n.subnets[zone*int(numTiers)+int(t)]
	host := uint32(10)
	for _, i := range n.interfaces {
		if i.subnet == s {
			host = i.addr - s.base() + 1
		}
	}
	i := &iface{id: newID(rnd, "eni"), subnet: s, addr: s.base() + host, phase: rnd.Int64N(60)}
	switch t {
	case nat:
		i.gatewayID = newID(rnd, "nat")
	case edge:
	default:
		i.instanceID = newID(rnd, "i")
	}
	if t.public() {
		i.public = 203<<24 | 113<<8 | uint32(100+len(n.interfaces)%150)
	}
	n.interfaces = append(n.interfaces, i)
}

// choose puts the interfaces of each tier in the order of their popularity,
// and leaves one in twenty out: those are standbys.
func (n *network) choose(rnd *rand.Rand) {
	for k, i := range n.interfaces {
		i.idle = !i.subnet.tier.public() && k%20 == 19
		if !i.idle {
			n.tiers[i.subnet.tier] = append(n.tiers[i.subnet.tier], k)
		}
	}
	for t := range n.tiers {
		list := n.tiers[t]
		rnd.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
	}
}

// newID makes an ID as EC2 does: a prefix and 17 hexadecimal digits, the
// first of them 0.
func newID(rnd *rand.Rand, prefix string) string {
	return fmt.Sprintf("%s-0%016x", prefix, rnd.Uint64())
}
