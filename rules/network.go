package rules

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ephemera/ingest/flow"
)

// Network is one snapshot of the network's configuration: interfaces,
// subnets, network ACLs, security groups, NAT gateways and routes, of one or
// more VPCs. It does not change once read, and is safe for concurrent use.
// What its accessors return belongs to the Network.
type Network struct {
	// Time is when the snapshot was taken; zero when its directory does
	// not say.
	Time time.Time

	acls        map[string]*NetworkACL
	groups      map[string]*SecurityGroup
	interfaces  map[string]*Interface
	subnets     map[string]*Subnet
	nats        map[string]*NATGateway
	prefixLists map[string][]netip.Prefix
	tables      []*routeTable

	// The rest is derived by index.
	aclOf        map[string]*NetworkACL // by subnet
	defaultACL   map[string]*NetworkACL // by VPC
	byAddr       map[vpcAddr]*Interface
	delegated    []*Interface // those that hold whole prefixes
	inSubnet     map[string][]*Interface
	memberAddrs  map[groupAddr]bool
	memberBlocks map[string][]netip.Prefix // delegated prefixes, by group
	natOf        map[string]*NATGateway    // by interface
	tableOf      map[string]*routeTable    // by subnet
	mainTable    map[string]*routeTable    // by VPC
	vpcSubnets   map[string][]*Subnet
	localBlocks  map[string][]netip.Prefix // by VPC; none lies in another
}

// groupAddr is a private address of an interface that has the group.
type groupAddr struct {
	group string
	addr  flow.Addr
}

// vpcAddr is an address where it means one thing: VPCs may overlap.
type vpcAddr struct {
	vpc  string
	addr flow.Addr
}

// Interface is a network interface (ENI).
type Interface struct {
	ID, SubnetID, VPCID string

	// Type is AWS's InterfaceType: "interface", "nat_gateway" and others.
	Type        string
	InstanceID  string // empty for requester-managed interfaces
	Description string

	// NATGatewayID is set for an interface of a NAT gateway, when it is
	// known of which.
	NATGatewayID string

	// Primary is the primary private address, the one that flow logs show
	// for the interface whatever address was used.
	Primary flow.Addr
	// Addrs are all private IPv4 and all IPv6 addresses, Primary first.
	Addrs []flow.Addr
	// Prefixes are the prefixes delegated to the interface.
	Prefixes []netip.Prefix
	// PublicAddrs are the public addresses that the internet gateway
	// translates to the private ones; they never appear at the interface.
	PublicAddrs []flow.Addr

	Groups   []string // security group IDs, sorted
	Tracking Tracking
}

// Tracking holds the idle time-outs of connection tracking where they were
// configured; zero means the default of the instance type.
// Source: EC2 API Reference, ConnectionTrackingConfiguration.
type Tracking struct{ TCPEstablished, UDPStream, UDP time.Duration }

// IsNATGateway reports whether the interface is one of a NAT gateway, by its
// type or because a NAT gateway lists it. The EC2 API spells the type
// natGateway in its model and nat_gateway in its answers.
func (i *Interface) IsNATGateway() bool {
	return i.NATGatewayID != "" || slices.Contains([]string{"nat_gateway", "natGateway", "regional_nat_gateway"}, i.Type)
}

// owns reports whether a is a private or IPv6 address of the interface.
func (i *Interface) owns(a flow.Addr) bool {
	return slices.Contains(i.Addrs, a) || containsAddr(i.Prefixes, a)
}

// Subnet is a subnet with its IPv4 and IPv6 CIDR blocks.
type Subnet struct {
	ID, VPCID string
	Name      string // tag Name
	AZ        string // Availability Zone name, as in us-east-1a
	Prefixes  []netip.Prefix
}

// Contains reports whether a lies in one of the subnet's CIDR blocks.
func (s *Subnet) Contains(a flow.Addr) bool { return containsAddr(s.Prefixes, a) }

// NATGateway is a NAT gateway. A regional one has no subnet.
type NATGateway struct {
	ID, SubnetID, VPCID string
	Public              bool // false: a private NAT gateway, without public addresses
	Regional            bool
	Interfaces          []string    // IDs, sorted
	PrivateAddrs        []flow.Addr // the primary one first
	PublicAddrs         []flow.Addr
}

// Route is an entry of a route table.
type Route struct {
	// Prefix is the destination. For a route to a prefix list it is the
	// list's entry that matched.
	Prefix     netip.Prefix
	PrefixList string // empty, or the prefix list that the route names

	// Target is the ID of the next hop, whose form tells its kind ("igw-",
	// "nat-", "eni-", "tgw-", "pcx-", "eigw-", "vpce-" ...), or "local".
	Target string

	Propagated bool // by a virtual private gateway, not written by hand
	Blackhole  bool // the target is gone and packets are dropped
}

// IsLocal reports whether the route keeps packets inside the VPC.
func (r Route) IsLocal() bool { return r.Target == "local" }

// IsNATGateway reports whether the route leads to a NAT gateway.
func (r Route) IsNATGateway() bool { return strings.HasPrefix(r.Target, "nat-") }

type routeTable struct {
	vpcID   string
	main    bool
	subnets []string
	routes  []Route
}

// Interface returns the network interface with the given ID, or nil.
func (n *Network) Interface(id string) *Interface { return n.interfaces[id] }

// Interfaces returns all network interfaces, by ID.
func (n *Network) Interfaces() []*Interface { return sortedValues(n.interfaces) }

// InterfaceByAddr returns the network interface in the VPC that has the
// private or IPv6 address a, or nil.
func (n *Network) InterfaceByAddr(vpcID string, a flow.Addr) *Interface {
	if i := n.byAddr[vpcAddr{vpcID, a}]; i != nil {
		return i
	}
	for _, i := range n.delegated {
		if i.VPCID == vpcID && i.owns(a) {
			return i
		}
	}
	return nil
}

// Subnet returns the subnet with the given ID, or nil.
func (n *Network) Subnet(id string) *Subnet { return n.subnets[id] }

// Subnets returns all subnets, by ID.
func (n *Network) Subnets() []*Subnet { return sortedValues(n.subnets) }

// SubnetOf returns the subnet of the VPC in which a lies, or nil.
func (n *Network) SubnetOf(vpcID string, a flow.Addr) *Subnet {
	for _, s := range n.vpcSubnets[vpcID] {
		if s.Contains(a) {
			return s
		}
	}
	return nil
}

// ACL returns the network ACL with the given ID, or nil.
func (n *Network) ACL(id string) *NetworkACL { return n.acls[id] }

// ACLs returns all network ACLs, by ID.
func (n *Network) ACLs() []*NetworkACL { return sortedValues(n.acls) }

// ACLOf returns the network ACL of a subnet: the one associated with it, else
// its VPC's default one; nil when neither is in the snapshot.
func (n *Network) ACLOf(subnetID string) *NetworkACL {
	if a := n.aclOf[subnetID]; a != nil {
		return a
	}
	if s := n.subnets[subnetID]; s != nil {
		return n.defaultACL[s.VPCID]
	}
	return nil
}

// Group returns the security group with the given ID, or nil.
func (n *Network) Group(id string) *SecurityGroup { return n.groups[id] }

// Groups returns all security groups, by ID.
func (n *Network) Groups() []*SecurityGroup { return sortedValues(n.groups) }

// NATGateway returns the NAT gateway with the given ID, or nil.
func (n *Network) NATGateway(id string) *NATGateway { return n.nats[id] }

// NATGateways returns all NAT gateways, by ID.
func (n *Network) NATGateways() []*NATGateway { return sortedValues(n.nats) }

// NATGatewayOf returns the NAT gateway to which an interface belongs, or nil.
// Like Check, it also takes the ID of the NAT gateway itself.
func (n *Network) NATGatewayOf(interfaceID string) *NATGateway {
	if g := n.nats[interfaceID]; g != nil {
		return g
	}
	return n.natOf[interfaceID]
}

// NextHop returns the route that packets from a subnet to dst take: the
// longest prefix in the subnet's route table, or in its VPC's main one when
// none is associated. False when the snapshot has no such table or route.
// Among equal prefixes a route written by hand goes before one to a prefix
// list, and that before a propagated one.
// Routes to a prefix list whose entries are not in the snapshot are passed
// over. Source: VPC User Guide, "Route priority".
func (n *Network) NextHop(subnetID string, dst flow.Addr) (Route, bool) {
	table := n.routeTableOf(subnetID)
	if table == nil {
		return Route{}, false
	}
	addr := dst.Netip()
	var best Route
	for _, r := range table.routes {
		if r.Prefix.Contains(addr) && r.before(best) {
			best = r
		}
	}
	return best, best.Prefix.IsValid()
}

func (n *Network) routeTableOf(subnetID string) *routeTable {
	if t := n.tableOf[subnetID]; t != nil {
		return t
	}
	if s := n.subnets[subnetID]; s != nil {
		return n.mainTable[s.VPCID]
	}
	return nil
}

// before reports whether r is to be preferred to s for an address that both
// match. The zero Route comes after all.
func (r Route) before(s Route) bool {
	if !s.Prefix.IsValid() {
		return true
	}
	return cmp.Or(
		cmp.Compare(s.Prefix.Bits(), r.Prefix.Bits()),
		cmp.Compare(r.rank(), s.rank())) < 0
}

func (r Route) rank() int {
	switch {
	case r.Propagated:
		return 2
	case r.PrefixList != "":
		return 1
	}
	return 0
}

// IsLocal reports whether a lies inside the VPC: in a CIDR block of one of
// its subnets or behind a local route.
func (n *Network) IsLocal(vpcID string, a flow.Addr) bool {
	return containsAddr(n.localBlocks[vpcID], a)
}

// With returns a copy of the network in which the given network ACLs and
// security groups stand in the place of those with the same ID, to try
// changes on. Subnets follow what the network ACLs list.
func (n *Network) With(acls []*NetworkACL, groups []*SecurityGroup) *Network {
	changed := *n
	changed.acls, changed.groups = maps.Clone(n.acls), maps.Clone(n.groups)
	for _, a := range acls {
		changed.acls[a.ID] = a
	}
	for _, g := range groups {
		changed.groups[g.ID] = g
	}
	changed.indexACLs()
	return &changed
}

// index derives the look-up tables from what was read.
func (n *Network) index() {
	n.indexACLs()
	n.indexNATGateways()
	n.indexInterfaces()
	n.indexMembers()
	n.indexRoutes()
}

func (n *Network) indexACLs() {
	n.aclOf, n.defaultACL = map[string]*NetworkACL{}, map[string]*NetworkACL{}
	for _, a := range n.ACLs() {
		for _, id := range a.Subnets {
			n.aclOf[id] = a
		}
		if a.IsDefault {
			n.defaultACL[a.VPCID] = a
		}
	}
}

// indexNATGateways joins NAT gateways and their interfaces. Either side may
// be missing from the snapshot; each is then made from the other.
func (n *Network) indexNATGateways() {
	n.natOf = map[string]*NATGateway{}
	for _, g := range n.NATGateways() {
		for k, id := range g.Interfaces {
			n.natOf[id] = g
			if n.interfaces[id] == nil {
				n.interfaces[id] = g.impliedInterface(k)
			}
			n.interfaces[id].NATGatewayID = g.ID
		}
	}
	for _, i := range n.Interfaces() {
		if i.IsNATGateway() && i.NATGatewayID == "" {
			n.addImpliedNATGateway(i)
		}
	}
}

// impliedInterface describes the gateway's k-th interface by what the
// gateway says about it.
func (g *NATGateway) impliedInterface(k int) *Interface {
	i := &Interface{ID: g.Interfaces[k], SubnetID: g.SubnetID, VPCID: g.VPCID, Type: "nat_gateway"}
	if len(g.Interfaces) == 1 && len(g.PrivateAddrs) > 0 {
		i.Primary, i.Addrs, i.PublicAddrs = g.PrivateAddrs[0], g.PrivateAddrs, g.PublicAddrs
	}
	return i
}

// addImpliedNATGateway adds the gateway that an interface says it belongs
// to: AWS describes it as "Interface for NAT Gateway nat-...".
func (n *Network) addImpliedNATGateway(i *Interface) {
	at := strings.Index(i.Description, "nat-")
	if at < 0 {
		return
	}
	id, _, _ := strings.Cut(i.Description[at:], " ")
	g := n.nats[id]
	if g == nil {
		g = &NATGateway{ID: id, SubnetID: i.SubnetID, VPCID: i.VPCID, Regional: i.SubnetID == ""}
		n.nats[id] = g
	}
	g.Interfaces = append(g.Interfaces, i.ID)
	g.PrivateAddrs = append(g.PrivateAddrs, i.Addrs...)
	g.PublicAddrs = append(g.PublicAddrs, i.PublicAddrs...)
	g.Public = len(g.PublicAddrs) > 0
	n.natOf[i.ID], i.NATGatewayID = g, id
}

func (n *Network) indexInterfaces() {
	n.byAddr, n.inSubnet = map[vpcAddr]*Interface{}, map[string][]*Interface{}
	for _, i := range n.Interfaces() {
		for _, a := range i.Addrs {
			n.byAddr[vpcAddr{i.VPCID, a}] = i
		}
		if len(i.Prefixes) > 0 {
			n.delegated = append(n.delegated, i)
		}
		n.inSubnet[i.SubnetID] = append(n.inSubnet[i.SubnetID], i)
	}
}

func (n *Network) indexMembers() {
	n.memberAddrs, n.memberBlocks = map[groupAddr]bool{}, map[string][]netip.Prefix{}
	for _, i := range n.Interfaces() {
		for _, g := range i.Groups {
			for _, a := range i.Addrs {
				n.memberAddrs[groupAddr{g, a}] = true
			}
			n.memberBlocks[g] = append(n.memberBlocks[g], i.Prefixes...)
		}
	}
}

func (n *Network) indexRoutes() {
	n.vpcSubnets, n.localBlocks = map[string][]*Subnet{}, map[string][]netip.Prefix{}
	for _, s := range n.Subnets() {
		n.vpcSubnets[s.VPCID] = append(n.vpcSubnets[s.VPCID], s)
	}
	n.tableOf, n.mainTable = map[string]*routeTable{}, map[string]*routeTable{}
	for _, t := range n.tables {
		t.routes = n.resolve(t.routes)
		for _, id := range t.subnets {
			n.tableOf[id] = t
		}
		if t.main {
			n.mainTable[t.vpcID] = t
		}
		for _, r := range t.routes {
			if r.IsLocal() {
				n.localBlocks[t.vpcID] = append(n.localBlocks[t.vpcID], r.Prefix)
			}
		}
	}
	for vpc, subnets := range n.vpcSubnets {
		for _, s := range subnets {
			n.localBlocks[vpc] = append(n.localBlocks[vpc], s.Prefixes...)
		}
	}
	for vpc, blocks := range n.localBlocks {
		n.localBlocks[vpc] = outermost(blocks)
	}
}

// outermost returns the prefixes that lie in no other one.
func outermost(prefixes []netip.Prefix) []netip.Prefix {
	var kept []netip.Prefix
	for _, p := range slices.SortedFunc(slices.Values(prefixes), func(p, q netip.Prefix) int { return cmp.Compare(p.Bits(), q.Bits()) }) {
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Overlaps(p) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// resolve replaces each route to a prefix list by one for each of the list's
// entries.
func (n *Network) resolve(routes []Route) []Route {
	var resolved []Route
	for _, r := range routes {
		if r.PrefixList == "" {
			resolved = append(resolved, r)
			continue
		}
		for _, p := range n.prefixLists[r.PrefixList] {
			r.Prefix = p
			resolved = append(resolved, r)
		}
	}
	return resolved
}

func containsAddr(prefixes []netip.Prefix, a flow.Addr) bool {
	addr := a.Netip()
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func sortedValues[V any](m map[string]V) []V {
	values := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[k])
	}
	return values
}

// Segments splits the destination ports from ports.From to ports.To of
// packets that come to an interface or leave it wherever the entry of its
// subnet's network ACL that decides changes. Where no network ACL is met it
// gives nothing.
func (n *Network) Segments(interfaceID string, dir flow.Direction, p flow.Tuple, ports PortRange) []Segment {
	i := n.checkedInterface(interfaceID)
	if i == nil || n.ACLOf(i.SubnetID) == nil {
		return nil
	}
	p.DstPort = ports.From
	if c := n.Check(interfaceID, dir, p, true); len(c.Verdicts) == 0 {
		return nil
	}
	var parts []Segment
	for _, s := range n.ACLOf(i.SubnetID).Segments(dir, peerOf(dir, p), p.Proto) {
		r := PortRange{max(s.Ports.From, ports.From), min(s.Ports.To, ports.To)}
		if r.Len() > 0 {
			parts = append(parts, Segment{r, s.Verdict})
		}
	}
	return parts
}
