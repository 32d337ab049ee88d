package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ephemera/analyze/simulate"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A lab is simulated traffic with a network that explains it.
type lab struct {
	records []flow.Record
	net     *rules.History
	lines   []string // the network
}

// A portSpan is the lowest and the highest of some ports.
type portSpan struct{ from, to uint16 }

func (s *portSpan) add(port uint16) {
	if s.to == 0 {
		*s = portSpan{port, port}
	}
	s.from, s.to = min(s.from, port), max(s.to, port)
}

// newLab builds the network of simulated traffic from its log: the interfaces
// that it names, and as rules what an operator writes who does not know better:
// all ephemeral ports everywhere. What was rejected at a NAT gateway is denied by
// the network ACL of its subnet, and what was rejected at a client by the
// clients' security group or by their network ACL.
func newLab(t *testing.T, c simulate.Config, byGroup bool) *lab {
	t.Helper()
	traffic := simulate.Run(c)
	clients := map[string]flow.Addr{}
	gateways := map[string]map[flow.Addr]bool{}
	nats := map[string]flow.Addr{}
	deniedAtNAT, deniedAtClient := map[string]*portSpan{}, map[flow.Addr]*portSpan{}
	for _, r := range traffic.Records {
		switch {
		case r.Status != flow.OK:
		case strings.HasPrefix(r.InterfaceID, "eni-0c"):
			if !isClient(r.Src) {
				clients[r.InterfaceID] = r.Dst
				continue
			}
			clients[r.InterfaceID] = r.Src
			if r.Action == flow.Reject {
				if deniedAtClient[r.Dst] == nil {
					deniedAtClient[r.Dst] = &portSpan{}
				}
				deniedAtClient[r.Dst].add(r.DstPort)
			}
		default:
			for _, a := range []flow.Addr{r.Src, r.Dst} {
				if strings.HasPrefix(a.String(), "10.0.0.") { // the primary address stands for all
					nats[r.InterfaceID] = a
				}
			}
			if r.Action == flow.Reject {
				if deniedAtNAT[r.InterfaceID] == nil {
					deniedAtNAT[r.InterfaceID] = &portSpan{}
				}
				deniedAtNAT[r.InterfaceID].add(r.DstPort)
			}
		}
	}
	for _, m := range traffic.Mappings {
		for id, p := range nats {
			if p == m.Primary {
				if gateways[id] == nil {
					gateways[id] = map[flow.Addr]bool{}
				}
				gateways[id][m.NATAddr] = true
			}
		}
	}
	l := &lab{records: traffic.Records, lines: []string{"subnet subnet-private 10.1.0.0/16,2600:1f18:0:100::/64 acl-private"}}
	add := func(format string, args ...any) { l.lines = append(l.lines, fmt.Sprintf(format, args...)) }
	for _, id := range slices.Sorted(maps.Keys(clients)) {
		add("eni %s %s subnet-private sg-client", id, clients[id])
	}
	for k, id := range slices.Sorted(maps.Keys(nats)) {
		addrs := []string{nats[id].String()}
		for _, a := range slices.SortedFunc(maps.Keys(gateways[id]), flow.Addr.Compare) {
			if a != nats[id] {
				addrs = append(addrs, a.String())
			}
		}
		acl := fmt.Sprintf("acl-public-%d", k)
		add("subnet subnet-public-%d %s %s", k, netip.PrefixFrom(nats[id].Netip(), 28).Masked(), acl)
		add("nat nat-%d %s %s subnet-public-%d", k, id, strings.Join(addrs, ","), k)
		add("route subnet-public-%d 0.0.0.0/0 igw-1", k)
		add("route subnet-private 0.0.0.0/0 nat-%d", k)
		if s := deniedAtNAT[id]; s != nil {
			add("%s in 80 deny tcp %d-%d 0.0.0.0/0", acl, s.from, s.to)
			add("%s in 81 deny udp %d-%d 0.0.0.0/0", acl, s.from, s.to)
		}
		openAll(add, acl, "0.0.0.0/0", 0)
	}
	add("route subnet-private ::/0 eigw-1")
	openAll(add, "acl-private", "0.0.0.0/0", 0)
	openAll(add, "acl-private", "::/0", 1)
	add("sg-client out udp 0-65535 0.0.0.0/0")
	add("sg-client out tcp 0-1023 0.0.0.0/0")
	add("sg-client out tcp 0-1023 ::/0")
	if !byGroup {
		add("sg-client out tcp 1024-65535 0.0.0.0/0")
		add("sg-client out tcp 1024-65535 ::/0")
	}
	number := 10
	for _, a := range slices.SortedFunc(maps.Keys(deniedAtClient), flow.Addr.Compare) {
		s := deniedAtClient[a]
		bits := a.Netip().BitLen()
		if !byGroup {
			add("acl-private out %d deny tcp %d-%d %s/%d", number, s.from, s.to, a, bits)
			number++
			continue
		}
		add("sg-client out tcp 1024-%d %s/%d", s.from-1, a, bits)
		if s.to < 65535 {
			add("sg-client out tcp %d-65535 %s/%d", s.to+1, a, bits)
		}
	}
	if byGroup {
		for _, a := range others(traffic.Records, deniedAtClient) {
			add("sg-client out tcp 1024-65535 %s/%d", a, a.Netip().BitLen())
		}
	}
	l.net = onlyNetwork(t, l.lines...)
	return l
}

// openAll allows what everybody allows.
func openAll(add func(string, ...any), acl, cidr string, family int) {
	for _, way := range []string{"in", "out"} {
		add("%s %s %d allow tcp 0-1023 %s", acl, way, 100+family, cidr)
		add("%s %s %d allow tcp 1024-65535 %s", acl, way, 110+family, cidr)
		add("%s %s %d allow udp 0-65535 %s", acl, way, 120+family, cidr)
	}
}

func isClient(a flow.Addr) bool {
	return strings.HasPrefix(a.String(), "10.1.") || strings.HasPrefix(a.String(), "2600:1f18:")
}

// others are the far ends with high ports of clients at which nothing was
// rejected.
func others(rs []flow.Record, denied map[flow.Addr]*portSpan) []flow.Addr {
	all := map[flow.Addr]bool{}
	for _, r := range rs {
		if strings.HasPrefix(r.InterfaceID, "eni-0c") && isClient(r.Src) && r.DstPort >= 1024 && denied[r.Dst] == nil {
			all[r.Dst] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), flow.Addr.Compare)
}

// onlyNetwork is a network of the given lines alone.
func onlyNetwork(t testing.TB, lines ...string) *rules.History {
	t.Helper()
	n := &netConfig{subnets: map[string]object{}, enis: map[string]object{}, nats: map[string]object{}, tables: map[string]object{},
		acls: map[string][]object{}, aclOf: map[string]string{}, in: map[string][]object{}, out: map[string][]object{}}
	for _, line := range lines {
		n.edit(line)
	}
	fsys := fstest.MapFS{}
	n.files("", fsys)
	h, err := rules.ReadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// replayed runs the analysis against other rules.
func replayed(t *testing.T, rs []flow.Record, o Options, other rules.RuleSet) *Result {
	t.Helper()
	r, err := RunReplay(stream(rs), o, other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// allRules are all rules of the newest snapshot.
func allRules(h *rules.History) rules.RuleSet {
	n := h.Networks()[len(h.Networks())-1]
	return rules.RuleSet{ACLs: n.ACLs(), Groups: n.Groups()}
}

// countAll adds up the counts.
func (r *Replay) countAll() (sum ReplayCount) {
	for _, c := range []ReplayCount{r.Passing, r.Lost, r.Repaired, r.Partly, r.Stopped, r.Unwanted, r.Admitted, r.Unknown} {
		sum.All, sum.FTP = sum.All+c.All, sum.FTP+c.FTP
	}
	return sum
}

func (r *Replay) counts() string {
	return fmt.Sprintf("passing %d/%d lost %d/%d repaired %d/%d partly %d/%d stopped %d/%d unwanted %d/%d unknown %d/%d",
		r.Passing.All, r.Passing.FTP, r.Lost.All, r.Lost.FTP, r.Repaired.All, r.Repaired.FTP, r.Partly.All, r.Partly.FTP,
		r.Stopped.All, r.Stopped.FTP, r.Unwanted.All, r.Unwanted.FTP, r.Unknown.All, r.Unknown.FTP)
}

// settledConnections are all connections of a log, as the analysis ends with
// them.
func settledConnections(t *testing.T, rs []flow.Record, o Options) (all []*Connection, ftp int) {
	t.Helper()
	o.settled = func(c *Connection, r roles) {
		all = append(all, c.clone())
		if r.isFTP() {
			ftp++
		}
	}
	analysed(t, rs, o)
	return all, ftp
}

// labs simulate every preset with a few sessions, in both formats; what is
// rejected at clients is by their network ACL in one, by their group in the
// other.
func labs(t *testing.T, test func(t *testing.T, l *lab)) {
	presets := append(simulate.Presets(), simulate.Preset{Name: "anything", Config: simulate.Anything(5000)})
	if testing.Short() {
		presets = presets[len(presets)-1:]
	}
	for _, p := range presets {
		c := p.Config
		c.Seed, c.Sessions, c.Transfers = 5000, min(c.Sessions, 20), min(c.Transfers, 3)
		if c.BruteForce > 0 {
			c.BruteForce, c.Sessions = 1, 60
		}
		for _, format := range []string{"rich", "default"} {
			c.Rich = format == "rich"
			t.Run(p.Name+"/"+format, func(t *testing.T) { test(t, newLab(t, c, !c.Rich)) })
		}
	}
}

// The rules that are in force change nothing, and the counts add up.
func TestReplayOfTheSameRules(t *testing.T) {
	labs(t, func(t *testing.T, l *lab) {
		o := Options{Network: l.net, Ordered: true}
		all, ftp := settledConnections(t, l.records, o)
		for _, other := range []rules.RuleSet{{}, allRules(l.net)} {
			r := replayed(t, l.records, o, other).Replay
			if r.Changed.Len() > 0 || r.Lost.All+r.Repaired.All+r.Partly.All+r.Unwanted.All > 0 {
				t.Errorf("%s", r.counts())
				for c := range r.Changed.All() {
					t.Logf("%+v", c)
				}
			}
			if got := r.countAll(); got.All != len(all) || got.FTP != ftp {
				t.Errorf("%s: %v in all, want %d and %d", r.counts(), got, len(all), ftp)
			}
		}
	})
}

// A proposal loses nothing of the log that it was made from, and repairs what
// stopped FTP.
func TestProposalLosesNothing(t *testing.T) {
	labs(t, func(t *testing.T, l *lab) {
		o := Options{Network: l.net, Ordered: true}
		first := analysed(t, l.records, o)
		p := first.Proposal
		r := replayed(t, l.records, o, p.Rules.Revision.To).Replay
		t.Logf("%s; %d changes, %d kept, %d opened, %d closed", r.counts(), len(p.Summary), len(p.Kept), len(p.Opened), len(p.Closed))
		for _, k := range p.Kept {
			t.Logf("kept %+v", k)
		}
		for _, w := range first.Warnings {
			t.Log(w)
		}
		if r.Lost.All > 0 {
			for c := range r.Changed.All() {
				if c.Before == FatePasses && !c.Unwanted {
					t.Errorf("lost: %+v", c)
				}
			}
		}
		if r.Stopped.FTP+r.Partly.FTP > 0 {
			t.Errorf("not repaired: %s", r.counts())
		}
	})
}

// literalEntry goes through the entries of a network ACL one by one.
func literalEntry(a *rules.NetworkACL, dir flow.Direction, peer netip.Addr, t flow.Tuple) bool {
	entries := slices.DeleteFunc(slices.Clone(a.Entries), func(e rules.Entry) bool { return e.Direction() != dir })
	slices.SortFunc(entries, func(a, b rules.Entry) int { return a.RuleNumber - b.RuleNumber })
	for _, e := range entries {
		if e.Prefix.Contains(peer) && literalTraffic(e.Protocol, e.Ports, e.HasPorts, t) {
			return e.Allow
		}
	}
	return false
}

func literalTraffic(protocol int, ports rules.PortRange, hasPorts bool, t flow.Tuple) bool {
	return protocol == -1 || protocol == int(t.Proto) && (!hasPorts || ports.From <= t.DstPort && t.DstPort <= ports.To)
}

// literalPass says what the rules do with one way of a leg. In these networks
// all traffic crosses the boundary of a subnet.
func literalPass(n *rules.Network, l *Leg, fromInitiator bool) bool {
	t, way := l.Header, l.FromInitiator
	if !fromInitiator {
		t, way = t.Reverse(), l.FromResponder
	}
	peer := t.Dst
	if way.Direction == flow.Ingress {
		peer = t.Src
	}
	iface := n.Interface(l.Interface.ID)
	if !literalEntry(n.ACLOf(iface.SubnetID), way.Direction, peer.Netip(), t) {
		return false
	}
	if !fromInitiator || iface.IsNATGateway() {
		return true
	}
	for _, id := range iface.Groups {
		for _, r := range n.Group(id).Rules(way.Direction) {
			if r.Prefix.Contains(peer.Netip()) && literalTraffic(r.Protocol, r.Ports, r.HasPorts, t) {
				return true
			}
		}
	}
	return false
}

// literallyLost lists the connections that pass today and that other rules
// stop at a point where they passed.
func literallyLost(all []*Connection, now, then *rules.Network) []string {
	var lost []string
	for _, c := range all {
		stopped, would := false, false
		for _, l := range c.legs() {
			for _, first := range []bool{true, false} {
				way := l.FromInitiator
				if !first {
					way = l.FromResponder
				}
				stopped = stopped || way.Packets() > 0 && way.Accepted == 0
				would = would || way.Accepted > 0 && literalPass(now, l, first) && !literalPass(then, l, first)
			}
		}
		scan := c.Unsolicited || c.Server != nil && c.Client == nil && c.Server.FromResponder.Packets() == 0
		if would && !stopped && !scan {
			lost = append(lost, fmt.Sprintf("%s:%d > %s:%d %d", c.Tuple.Src, c.Tuple.SrcPort, c.Tuple.Dst, c.Tuple.DstPort, c.Start))
		}
	}
	slices.Sort(lost)
	return lost
}

func lostOf(r *Replay) []string {
	var lost []string
	for c := range r.Changed.All() {
		if c.Before == FatePasses && c.After == FateStops && !c.Unwanted {
			lost = append(lost, fmt.Sprintf("%s:%d > %s:%d %d", c.ClientAddr, c.ClientPort, c.ServerAddr, c.ServerPort, c.Start))
		}
	}
	slices.Sort(lost)
	return lost
}

// tightened denies what was seen at one point, or all of a range around it, or
// takes a rule away from the clients' group.
func tightened(rng *rand.Rand, n *rules.Network, all []*Connection) rules.RuleSet {
	if rng.IntN(4) == 0 {
		g := n.Group("sg-client").Clone()
		k := rng.IntN(len(g.Egress))
		g.Egress = slices.Delete(g.Egress, k, k+1)
		return rules.RuleSet{Groups: []*rules.SecurityGroup{g}}
	}
	legs := all[rng.IntN(len(all))].legs()
	l := legs[rng.IntN(len(legs))]
	t, dir := l.Header, l.FromInitiator.Direction
	if rng.IntN(2) == 0 && l.FromResponder.Packets() > 0 {
		t, dir = t.Reverse(), l.FromResponder.Direction
	}
	peer := t.Dst.Netip()
	if dir == flow.Ingress {
		peer = t.Src.Netip()
	}
	a := n.ACLOf(n.Interface(l.Interface.ID).SubnetID).Clone()
	prefix, _ := peer.Prefix([]int{0, 8, 16, peer.BitLen()}[rng.IntN(4)])
	width := uint16([]int{0, 0, 10, 1000}[rng.IntN(4)])
	a.Entries = append(a.Entries, rules.Entry{
		RuleNumber: 1, Egress: dir == flow.Egress, Protocol: int(t.Proto), Prefix: prefix, HasPorts: true, ICMPType: -1, ICMPCode: -1,
		Ports: rules.PortRange{From: t.DstPort - min(width, t.DstPort), To: t.DstPort + min(width, 65535-t.DstPort)},
	})
	a.Sort()
	return rules.RuleSet{ACLs: []*rules.NetworkACL{a}}
}

// Rules that deny something of what passed lose those connections, and no
// other.
func TestReplayAgainstFirstMatch(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	rng := rand.New(rand.NewPCG(71, 1))
	var lost, unwanted int
	labs(t, func(t *testing.T, l *lab) {
		o := Options{Network: l.net, Ordered: true}
		all, _ := settledConnections(t, l.records, o)
		now := l.net.Networks()[0]
		for range 3 {
			other := tightened(rng, now, all)
			r := replayed(t, l.records, o, other).Replay
			want := literallyLost(all, now, now.With(other.ACLs, other.Groups))
			if got := lostOf(r); !slices.Equal(got, want) || r.Lost.All != len(want) {
				t.Errorf("%s; got\n%s\nwant\n%s", r.counts(), strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if got := r.countAll(); got.All != len(all) {
				t.Errorf("%s: %d in all, want %d", r.counts(), got.All, len(all))
			}
			lost, unwanted = lost+r.Lost.All, unwanted+r.Unwanted.All
		}
	})
	t.Logf("%d lost, %d unwanted", lost, unwanted)
	if lost == 0 || unwanted == 0 {
		t.Error("nothing was tried")
	}
}

// The order of the records does not matter, nor whether it is promised.
func TestReplayOfAnyOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("the other replays tell as much of races")
	}
	p := simulate.Presets()
	c := p[slices.IndexFunc(p, func(p simulate.Preset) bool { return p.Name == "blocked replies" })].Config
	c.Seed, c.Sessions = 5100, 60
	l := newLab(t, c, false)
	o := Options{Network: l.net, Ordered: true}
	other := analysed(t, l.records, o).Proposal.Rules.Revision.To
	other.ACLs = append(slices.Clone(other.ACLs), tightenedPrivate(l.net.Networks()[0], other))
	want := replayed(t, l.records, o, other)
	if want.Replay.Lost.All == 0 || want.Replay.Repaired.All == 0 || want.Replay.Changed.Len() < 10 {
		t.Fatalf("too little happens: %s", want.Replay.counts())
	}
	rng := rand.New(rand.NewPCG(71, 2))
	for _, test := range []struct {
		name    string
		ordered bool
		held    int
		shuffle func([]flow.Record)
	}{
		{"not promised", false, 0, func([]flow.Record) {}},
		{"shuffled", false, 0, func(rs []flow.Record) {
			rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		}},
		{"shuffled within five minutes", true, 0, func(rs []flow.Record) {
			rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
			slices.SortStableFunc(rs, func(a, b flow.Record) int { return cmp.Compare(a.End/300, b.End/300) })
		}},
		{"rows in files", true, 2, func([]flow.Record) {}},
	} {
		rs := slices.Clone(l.records)
		test.shuffle(rs)
		got := replayed(t, rs, Options{Network: l.net, Ordered: test.ordered, held: test.held}, other)
		if got.Replay.counts() != want.Replay.counts() || !reflect.DeepEqual(slices.Collect(got.Replay.Changed.All()), slices.Collect(want.Replay.Changed.All())) {
			t.Errorf("%s: got %s, want %s", test.name, got.Replay.counts(), want.Replay.counts())
		}
		if !reflect.DeepEqual(got.Changes, want.Changes) || !reflect.DeepEqual(got.Proposal.Summary, want.Proposal.Summary) {
			t.Errorf("%s: another proposal", test.name)
		}
	}
}

// tightenedPrivate denies the clients one network of the internet.
func tightenedPrivate(n *rules.Network, but rules.RuleSet) *rules.NetworkACL {
	a := n.ACL("acl-private")
	if b := but.ACL("acl-private"); b != nil {
		a = b
	}
	a = a.Clone()
	a.Entries = append(a.Entries, rules.Entry{
		RuleNumber: 1, Egress: true, Protocol: 6, Prefix: netip.MustParsePrefix("203.0.113.10/32"), Ports: rules.PortRange{From: 21, To: 21},
		HasPorts: true, ICMPType: -1, ICMPCode: -1,
	})
	a.Sort()
	return a
}

// replays runs scenarios in both formats against other rules, which are edits
// of the same network.
func replays(t *testing.T, name string, lines, more, today, other []string, want string) {
	for _, f := range formats {
		t.Run(name+"/"+f.name, func(t *testing.T) {
			rs := calls(f, lines...)
			for _, line := range more {
				rs = append(rs, record(in(f, line)))
			}
			to := allRules(network(t, slices.Concat(today, other)...))
			r := replayed(t, rs, Options{Network: network(t, today...)}, to).Replay
			if got := r.counts(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
				for c := range r.Changed.All() {
					t.Logf("%+v", c)
				}
			}
		})
	}
}

func TestReplay(t *testing.T) {
	const (
		control = "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130"
		data    = "10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/400b 8p/9000b 110..112"
		https   = "10.0.1.6:41000 > 10.0.0.220:20003 > 198.51.100.7:443 9p/900b 9p/9000b 100..110"
	)
	none := "passing 3/2 lost 0/0 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"
	for _, c := range []struct {
		name         string
		lines, more  []string
		today, other []string
		want         string
	}{
		{"nothing changes", []string{control, data, https}, nil, nil, nil, none},
		{"what nobody meets", []string{control, data, https}, nil, nil, []string{"acl-private out 90 deny tcp 50011-50099 0.0.0.0/0", "acl-public in 90 deny tcp 20004-40000 0.0.0.0/0"}, none},
		{"data at P1", []string{control, data, https}, nil, nil, []string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0"},
			"passing 2/1 lost 1/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"data at P2", []string{control, data, https}, nil, nil, []string{"acl-public in 90 deny tcp 50000-50099 10.0.1.5/32"},
			"passing 2/1 lost 1/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"data at P3", []string{control, data, https}, nil, nil, []string{"acl-public out 90 deny tcp 50000-50099 203.0.113.0/24"},
			"passing 2/1 lost 1/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"others at P4", []string{control, data, https}, nil, nil, []string{"acl-public in 90 deny tcp 20003 0.0.0.0/0"},
			"passing 2/2 lost 1/0 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"control at P5", []string{control, data, https}, nil, nil, []string{"acl-public out 90 deny tcp 40000 10.0.1.0/24"},
			"passing 2/1 lost 1/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"all replies at P6", []string{control, data, https}, nil, nil, []string{"acl-private in 90 deny tcp 1024-65535 0.0.0.0/0"},
			"passing 0/0 lost 3/2 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"by the group", []string{control, data, https}, nil, nil, []string{"sg-client out none", "sg-client out tcp 21 0.0.0.0/0"},
			"passing 1/1 lost 2/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"a group's replies need no rule", []string{control, data, https}, nil, []string{"sg-client in tcp 1024-65535 0.0.0.0/0"}, []string{"sg-client in none"}, none},
		{"a stale snapshot", []string{control, data, https}, nil, []string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0"}, nil, none},
		{"a stale snapshot, and other rules that deny more there", []string{control, data, https}, nil,
			[]string{"acl-private out 90 deny tcp 50010 0.0.0.0/0"}, []string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0"}, none},
		{"a stale snapshot, and other rules elsewhere", []string{control, data, https}, nil,
			[]string{"acl-private out 90 deny tcp 50010 0.0.0.0/0"}, []string{"acl-public in 90 deny tcp 20002 0.0.0.0/0"},
			"passing 2/1 lost 1/1 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"repaired at P4", []string{control, data + " dies P4", https}, nil,
			[]string{"acl-public in 90 deny tcp 20002 0.0.0.0/0"}, []string{"acl-public in drop 90"},
			"passing 2/1 lost 0/0 repaired 1/1 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"repaired at P4, and stopped at P5", []string{control, data + " dies P4", https}, nil,
			[]string{"acl-public in 90 deny tcp 20002 0.0.0.0/0", "acl-public out 90 deny tcp 40001 10.0.1.0/24"}, []string{"acl-public in drop 90"},
			"passing 2/1 lost 0/0 repaired 0/0 partly 0/0 stopped 1/1 unwanted 0/0 unknown 0/0"},
		{"repaired at P1", []string{control, data + " dies P1", https}, nil,
			[]string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0"}, []string{"acl-private out drop 90"},
			"passing 2/1 lost 0/0 repaired 1/1 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"repaired at P1, and stopped at P3", []string{control, data + " dies P1", https}, nil,
			[]string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0", "acl-public out 90 deny tcp 50010 0.0.0.0/0"}, []string{"acl-private out drop 90"},
			"passing 2/1 lost 0/0 repaired 0/0 partly 0/0 stopped 1/1 unwanted 0/0 unknown 0/0"},
		{"repaired at P1, and at P4 it depends", []string{control, data + " dies P1", https}, nil,
			[]string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0", "acl-public in 90 deny tcp 1024-10000 203.0.113.0/24"}, []string{"acl-private out drop 90"},
			"passing 2/1 lost 0/0 repaired 0/0 partly 1/1 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"repaired at P1, and at P4 a few ports are denied", []string{control, data + " dies P1", https}, nil,
			[]string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0", "acl-public in 90 deny tcp 3389 0.0.0.0/0"}, []string{"acl-private out drop 90"},
			"passing 2/1 lost 0/0 repaired 1/1 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"repaired at P1, and at P4 all are", []string{control, data + " dies P1", https}, nil,
			[]string{"acl-private out 90 deny tcp 50000-50099 0.0.0.0/0", "acl-public in 90 deny tcp 1024-65535 203.0.113.10/32"}, []string{"acl-private out drop 90"},
			"passing 2/1 lost 0/0 repaired 0/0 partly 0/0 stopped 1/1 unwanted 0/0 unknown 0/0"},
		{"a group repairs", []string{control, data + " dies P1", https}, nil,
			[]string{"sg-client out none", "sg-client out tcp 0-1023 0.0.0.0/0"}, []string{"sg-client out tcp 50000-50099 203.0.113.10/32"},
			"passing 2/1 lost 0/0 repaired 1/1 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"the far side dropped it", []string{control, data + " lost P4", https}, nil, nil, nil, none},
		{"a scan of the NAT gateway", []string{control, data, https}, []string{"eni-nat ingress 198.51.100.99:5555 > 10.0.0.220:3389 1p/40b 100 ACCEPT SYN"},
			nil, []string{"acl-public in 90 deny tcp 3389 0.0.0.0/0"},
			"passing 3/2 lost 0/0 repaired 0/0 partly 0/0 stopped 0/0 unwanted 1/0 unknown 0/0"},
		{"a scan that stays", []string{control, data, https}, []string{"eni-nat ingress 198.51.100.99:5555 > 10.0.0.220:3389 1p/40b 100 ACCEPT SYN"}, nil, nil,
			"passing 4/2 lost 0/0 repaired 0/0 partly 0/0 stopped 0/0 unwanted 0/0 unknown 0/0"},
		{"a scan of a host", []string{control, data, https}, []string{"eni-10.0.1.6 ingress 198.51.100.99:5555 > 10.0.1.6:3389 1p/40b 100 ACCEPT SYN"},
			[]string{"sg-client in tcp 3389 0.0.0.0/0"}, []string{"sg-client in none"},
			"passing 3/2 lost 0/0 repaired 0/0 partly 0/0 stopped 0/0 unwanted 1/0 unknown 0/0"},
	} {
		replays(t, c.name, c.lines, c.more, c.today, c.other, c.want)
	}
}
