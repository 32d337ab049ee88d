package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

func fixture(t testing.TB) *Network {
	t.Helper()
	h, err := ReadDir("testdata/two-vpcs")
	if err != nil {
		t.Fatal(err)
	}
	return h.At(0)
}

func tcp(src, dst string) flow.Tuple { return packet(flow.TCP, src, dst) }

func packet(proto flow.Proto, src, dst string) flow.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.Tuple{
		Src: flow.AddrFrom(s.Addr()), Dst: flow.AddrFrom(d.Addr()),
		SrcPort: s.Port(), DstPort: d.Port(), Proto: proto,
	}
}

// show writes a check as one line a verdict, then the notes.
func show(c Check) string {
	var lines []string
	for _, v := range c.Verdicts {
		action := "deny"
		if v.Allow {
			action = "allow"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", action, v.Layer, v.ID, v.Rule))
	}
	for _, note := range c.Notes {
		lines = append(lines, "note: "+note)
	}
	if c.Unknown {
		lines = append(lines, "unknown")
	}
	return strings.Join(lines, "\n")
}

const (
	in  = flow.Ingress
	out = flow.Egress
)

func TestCheck(t *testing.T) {
	n := fixture(t)
	for _, c := range []struct {
		name  string
		at    string
		dir   flow.Direction
		p     flow.Tuple
		reply bool
		want  string
	}{
		// The way of a control connection through the NAT gateway.
		{"P1 client out", "eni-client", out, tcp("10.0.1.5:40000", "203.0.113.200:21"), false, `
			allow sg sg-ftp: tcp 21 to 0.0.0.0/0 (sg-ftp)
			allow nacl acl-private: rule 100 allow tcp 21 to 0.0.0.0/0`},
		{"P2 NAT in from the client", "eni-nat", in, tcp("10.0.1.5:40000", "203.0.113.200:21"), false, `
			allow nacl acl-public: rule 110 allow tcp 21 from 10.0.1.0/24
			note: a NAT gateway has no security group`},
		{"P2 without pkt fields", "eni-nat", in, tcp("10.0.1.5:40000", "10.0.0.220:21"), false, `
			allow nacl acl-public: rule 110 allow tcp 21 from 10.0.1.0/24
			note: a NAT gateway has no security group`},
		{"P3 NAT out", "eni-nat", out, tcp("10.0.0.220:25000", "203.0.113.200:21"), false, `
			allow nacl acl-public: rule 100 allow tcp 21 to 0.0.0.0/0
			note: a NAT gateway has no security group`},
		{"P4 NAT in, reply", "eni-nat", in, tcp("203.0.113.200:21", "10.0.0.220:25000"), true, `
			deny nacl acl-public: rule 95 deny tcp 20000-32767 from 0.0.0.0/0
			note: a NAT gateway has no security group`},
		{"P5 NAT out to the client", "eni-nat", out, tcp("203.0.113.200:21", "10.0.1.5:31000"), true, `
			deny nacl acl-public: * deny all
			note: a NAT gateway has no security group`},
		{"P6 client in, reply", "eni-client", in, tcp("203.0.113.200:21", "10.0.1.5:40000"), true, `
			allow nacl acl-private: rule 100 allow tcp 32768-60999 from 0.0.0.0/0
			note: security groups are stateful: a reply passes`},
		{"P6 above the range, as a new connection", "eni-client", in, tcp("203.0.113.200:20", "10.0.1.5:61000"), false, `
			deny nacl acl-private: * deny all
			deny sg sg-ftp;sg-web: no rule of sg-ftp, sg-web allows it`},

		// Security groups.
		{"both layers deny on the way out", "eni-client", out, tcp("10.0.1.5:40000", "203.0.113.200:50000"), false, `
			deny sg sg-ftp;sg-web: no rule of sg-ftp, sg-web allows it
			deny nacl acl-private: * deny all`},
		{"union of groups", "eni-client", out, tcp("10.0.1.5:40000", "10.0.1.77:443"), false, `
			allow sg sg-web: tcp 443 to 0.0.0.0/0 (sg-web)
			note: network ACLs do not apply inside a subnet`},
		{"group as a peer", "eni-client", in, tcp("10.0.1.6:40000", "10.0.1.5:22"), false, `
			allow sg sg-web: tcp 22 from sg-ftp (sg-web)
			note: network ACLs do not apply inside a subnet`},
		{"group as a peer, delegated prefix", "eni-client", in, tcp("10.0.1.40:40000", "10.0.1.5:22"), false, `
			allow sg sg-web: tcp 22 from sg-ftp (sg-web)
			note: network ACLs do not apply inside a subnet`},
		{"group as a peer, no member", "eni-client", in, tcp("10.0.1.60:40000", "10.0.1.5:22"), false, `
			deny sg sg-ftp;sg-web: no rule of sg-ftp, sg-web allows it
			note: network ACLs do not apply inside a subnet`},
		{"numeric protocol without ports", "eni-neighbour", out, packet(flow.UDP, "10.0.1.6:4", "10.0.1.77:53"), false, `
			allow sg sg-ftp: udp to 10.0.0.0/16 (sg-ftp)
			note: network ACLs do not apply inside a subnet`},

		// A client beside its NAT gateway.
		{"out through the neighbour", "eni-beside", out, tcp("10.0.2.5:40000", "203.0.113.200:21"), false, `
			allow sg sg-list: tcp 21 to pl-0a1 (sg-list)
			note: network ACLs do not apply inside a subnet: nat-mixed, the next hop to 203.0.113.200, is in the same one`},
		{"replies from the neighbour", "eni-beside", in, tcp("203.0.113.200:21", "10.0.2.5:1500"), true, `
			note: network ACLs do not apply inside a subnet: nat-mixed, the next hop to 203.0.113.200, is in the same one
			note: security groups are stateful: a reply passes`},
		{"out through an appliance in the subnet", "eni-beside", out, tcp("10.0.2.5:40000", "192.0.2.1:21"), false, `
			deny sg sg-list: no rule of sg-list allows it
			note: network ACLs do not apply inside a subnet: eni-appliance, the next hop to 192.0.2.1, is in the same one`},
		{"the appliance's own packets", "eni-appliance", out, tcp("10.0.2.9:40000", "192.0.2.1:21"), true, `
			allow nacl acl-private: rule 100 allow tcp 21 to 0.0.0.0/0
			note: security groups are stateful: a reply passes`},
		{"the neighbour's inside leg", "eni-nat-mixed", in, tcp("10.0.2.5:40000", "203.0.113.200:2121"), false, `
			note: network ACLs do not apply inside a subnet
			note: a NAT gateway has no security group`},
		{"the neighbour's inside leg, back", "eni-nat-mixed", out, tcp("203.0.113.200:21", "10.0.2.5:1500"), false, `
			note: a NAT gateway has no security group
			note: network ACLs do not apply inside a subnet`},
		{"the neighbour's outside leg, routed to itself", "eni-nat-mixed", out, tcp("10.0.2.220:40000", "203.0.113.200:2121"), false, `
			deny nacl acl-private: * deny all
			note: a NAT gateway has no security group`},
		{"to another subnet", "eni-beside", out, tcp("10.0.2.5:40000", "10.0.3.5:21"), false, `
			deny sg sg-list: no rule of sg-list allows it
			allow nacl acl-private: rule 100 allow tcp 21 to 0.0.0.0/0`},

		// IPv6, and protocols without ports.
		{"IPv6 out", "eni-client", out, tcp("[2001:db8:0:1::5]:40000", "[2001:db8:ffff::1]:21"), false, `
			allow sg sg-ftp: tcp 21 to ::/0 (sg-ftp)
			allow nacl acl-private: rule 101 allow tcp 21 to ::/0`},
		{"IPv6 default deny", "eni-client", in, tcp("[2001:db8:ffff::1]:21", "[2001:db8:0:1::5]:40000"), true, `
			deny nacl acl-private: * deny all
			note: security groups are stateful: a reply passes`},
		{"IPv6 inside the subnet", "eni-client", in, tcp("[2001:db8:0:1::9]:40000", "[2001:db8:0:1::5]:443"), false, `
			allow sg sg-web: tcp 443 from 2001:db8::/32 (sg-web)
			note: network ACLs do not apply inside a subnet`},
		{"IPv6 block no longer the subnet's", "eni-client", in, tcp("[2001:db8:0:ffff::9]:40000", "[2001:db8:0:1::5]:443"), false, `
			deny nacl acl-private: * deny all
			allow sg sg-web: tcp 443 from 2001:db8::/32 (sg-web)`},
		{"ports of a protocol without ports", "eni-nat", in, packet(50, "10.0.1.5:0", "10.0.0.220:0"), false, `
			allow nacl acl-public: rule 130 allow protocol 50 from 0.0.0.0/0
			note: a NAT gateway has no security group`},
		{"ICMP type in a network ACL", "eni-nat", in, packet(flow.ICMP, "10.0.1.5:0", "10.0.0.220:0"), false, `
			note: acl-public decides by ICMP type, which flow logs do not hold
			note: a NAT gateway has no security group
			unknown`},
		{"ICMP type in a group, default network ACL", "eni-plain", in, packet(flow.ICMP, "10.0.1.5:0", "10.0.3.5:0"), false, `
			allow nacl acl-default-a: rule 100 allow all from 0.0.0.0/0
			note: sg-ping decides by ICMP type, which flow logs do not hold
			unknown`},
		{"ICMP from elsewhere", "eni-plain", in, packet(flow.ICMP, "192.0.2.1:0", "10.0.3.5:0"), false, `
			allow nacl acl-default-a: rule 100 allow all from 0.0.0.0/0
			deny sg sg-ping: no rule of sg-ping allows it`},
		{"all protocols", "eni-plain", out, packet(47, "10.0.3.5:0", "192.0.2.1:0"), false, `
			allow sg sg-ping: all to 0.0.0.0/0 (sg-ping)
			allow nacl acl-default-a: rule 100 allow all to 0.0.0.0/0`},

		// Another VPC with the same addresses.
		{"no such member in the other VPC", "eni-b", in, tcp("10.0.1.6:40000", "10.0.1.5:21"), false, `
			deny sg sg-b: no rule of sg-b allows it
			note: network ACLs do not apply inside a subnet`},
		{"network ACL without entries", "eni-b", in, tcp("10.0.3.5:40000", "10.0.1.5:21"), false, `
			deny nacl acl-b: * deny all
			deny sg sg-b: no rule of sg-b allows it`},
		{"regional NAT gateway", "nat-regional", in, tcp("10.0.1.5:40000", "203.0.113.200:21"), false, `
			note: a regional NAT gateway has no subnet, and so no network ACL
			note: a NAT gateway has no security group`},
		{"NAT gateway whose interface is not listed", "eni-hidden", in, tcp("10.0.1.5:40000", "203.0.113.200:21"), false, `
			allow nacl acl-default-a: rule 100 allow all from 0.0.0.0/0
			note: a NAT gateway has no security group`},

		// What is not known.
		{"prefix list", "eni-beside", in, tcp("10.0.2.7:40000", "10.0.2.5:80"), false, `
			note: network ACLs do not apply inside a subnet
			note: the entries of pl-unknown are not in the snapshot
			unknown`},
		{"group of a peered VPC", "eni-beside", in, tcp("10.0.2.7:40000", "10.0.2.5:8080"), false, `
			note: network ACLs do not apply inside a subnet
			note: sg-peer is not in the snapshot
			unknown`},
		{"outside a known prefix list", "eni-beside", out, tcp("10.0.2.5:40000", "203.0.114.1:21"), false, `
			deny sg sg-list: no rule of sg-list allows it
			note: network ACLs do not apply inside a subnet: nat-mixed, the next hop to 203.0.114.1, is in the same one`},
		{"group", "eni-appliance", out, tcp("10.0.2.9:40000", "10.0.3.5:21"), false, `
			allow nacl acl-private: rule 100 allow tcp 21 to 0.0.0.0/0
			note: sg-lost is not in the snapshot
			unknown`},
		{"interface", "eni-0", in, tcp("10.0.1.5:40000", "10.0.0.220:21"), false, `
			note: eni-0 is not in the snapshot
			unknown`},
		{"direction", "eni-nat", flow.NoDirection, tcp("10.0.1.5:40000", "10.0.0.220:21"), false, `
			note: the packet's direction or addresses are not known
			unknown`},
	} {
		if got, want := show(n.Check(c.at, c.dir, c.p, c.reply)), unindent(c.want); got != want {
			t.Errorf("%s: %s %v %v\ngot\n%s\nwant\n%s", c.name, c.at, c.dir, c.p, got, want)
		}
	}
}

func TestCheckWithoutSnapshot(t *testing.T) {
	var h *History
	c := h.At(0).Check("eni-nat", in, tcp("10.0.1.5:40000", "10.0.0.220:21"), false)
	if !c.Unknown || len(c.Verdicts) != 0 || len(c.Notes) != 1 {
		t.Errorf("got %+v, want unknown, with a note", c)
	}
}

func TestDeciding(t *testing.T) {
	n := fixture(t)
	c := n.Check("eni-client", out, tcp("10.0.1.5:40000", "203.0.113.200:50000"), false)
	if v, denied := c.Deciding(); !denied || v.Layer != SG || v.ID != "sg-ftp;sg-web" {
		t.Errorf("deciding: got %+v, %v, want the security groups", v, denied)
	}
	if also := c.AlsoDenied(); len(also) != 1 || also[0].ID != "acl-private" || !also[0].Default || also[0].RuleNumber != 32767 {
		t.Errorf("also denied: got %+v, want acl-private's default deny", also)
	}
	c = n.Check("eni-client", out, tcp("10.0.1.5:40000", "203.0.113.200:21"), false)
	if v, denied := c.Deciding(); denied || v != (Verdict{}) || c.AlsoDenied() != nil {
		t.Errorf("allowed: got %+v, %v, %v", v, denied, c.AlsoDenied())
	}
}

func TestRoutesMissing(t *testing.T) {
	files := fixtureFiles(t)
	delete(files, "describe-route-tables.json")
	n := readFiles(t, files).At(0)
	for _, c := range []struct {
		at      string
		p       flow.Tuple
		unknown bool
	}{
		{"eni-beside", tcp("10.0.2.5:40000", "203.0.113.200:21"), true},
		{"eni-client", tcp("10.0.1.5:40000", "203.0.113.200:21"), false},
		{"eni-nat-mixed", tcp("10.0.2.220:40000", "203.0.113.200:21"), false},
		{"eni-beside", tcp("10.0.2.5:40000", "10.0.2.9:21"), false},
	} {
		if got := n.Check(c.at, out, c.p, true); got.Unknown != c.unknown {
			t.Errorf("%s %v: unknown is %v (%v), want %v", c.at, c.p, got.Unknown, got.Notes, c.unknown)
		}
	}
}

// TestGroupsAgainstLiteralLoop compares the union of random groups with a
// loop over all rules.
func TestGroupsAgainstLiteralLoop(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	for range 1000 {
		n, ids := randomGroups(rng)
		for range 10 {
			dir := []flow.Direction{in, out}[rng.IntN(2)]
			p := randomPacket(rng, &NetworkACL{})
			rule := randomRule(rng, n)
			p.DstPort = []uint16{rule.Ports.From, rule.Ports.To, rule.Ports.To + 1}[rng.IntN(3)]
			want := literalUnion(n, ids, dir, p)
			v, doubts := n.evaluateGroups(ids, dir, p)
			if v.Allow != want || len(doubts) > 0 || v.Layer != SG {
				t.Fatalf("%v %v: got %+v, %v, want %v", dir, p, v, doubts, want)
			}
			ports := n.GroupPorts(ids, dir, peerOf(dir, p), p.Proto)
			if ports.Contains(p.DstPort) != want {
				t.Fatalf("%v %v: ports %v, want %v", dir, p, ports, want)
			}
		}
	}
}

func literalUnion(n *Network, ids []string, dir flow.Direction, p flow.Tuple) bool {
	peer := p.Src
	if dir == flow.Egress {
		peer = p.Dst
	}
	for _, id := range ids {
		for _, r := range slices.Concat(n.groups[id].Ingress, n.groups[id].Egress) {
			isEgress := slices.Contains(n.groups[id].Egress, r)
			inside := r.GroupRef == "" && r.Prefix.Contains(peer.Netip())
			for _, i := range n.interfaces {
				inside = inside || slices.Contains(i.Groups, r.GroupRef) && slices.Contains(i.Addrs, peer)
			}
			protocol := r.Protocol == -1 || r.Protocol == int(p.Proto)
			anyPort := r.Protocol != 6 && r.Protocol != 17 || !r.HasPorts
			port := anyPort || r.Ports.From <= p.DstPort && p.DstPort <= r.Ports.To
			if isEgress == (dir == flow.Egress) && inside && protocol && port {
				return true
			}
		}
	}
	return false
}

func randomGroups(rng *rand.Rand) (n *Network, ids []string) {
	n = newNetwork(fixtureTime)
	for k := range 4 {
		id := fmt.Sprintf("sg-%d", k)
		n.groups[id] = &SecurityGroup{ID: id}
		ids = append(ids, id)
	}
	for k := range 4 {
		id := fmt.Sprintf("eni-%d", k)
		n.interfaces[id] = &Interface{ID: id, Addrs: []flow.Addr{randomAddr4(rng), randomAddr6(rng)}, Groups: []string{ids[rng.IntN(4)]}}
	}
	for _, id := range ids {
		for range rng.IntN(3) {
			n.groups[id].Ingress = append(n.groups[id].Ingress, newRandomRule(rng, ids, "ingress"))
		}
		for range rng.IntN(3) {
			n.groups[id].Egress = append(n.groups[id].Egress, newRandomRule(rng, ids, "egress"))
		}
	}
	n.index()
	return n, ids[:1+rng.IntN(3)]
}

// newRandomRule tells the directions apart by the description, so that no
// rule stands in both.
func newRandomRule(rng *rand.Rand, ids []string, direction string) GroupRule {
	r := GroupRule{
		Protocol: []int{-1, 6, 6, 17, 1, 50}[rng.IntN(6)], Ports: randomRange(rng), HasPorts: rng.IntN(4) > 0,
		ICMPType: -1, ICMPCode: -1, Description: direction,
	}
	if rng.IntN(3) == 0 {
		r.GroupRef = ids[rng.IntN(len(ids))]
	} else {
		r.Prefix = randomPrefix(rng)
	}
	return r
}

func randomRule(rng *rand.Rand, n *Network) GroupRule {
	var rules []GroupRule
	for _, g := range n.Groups() {
		rules = append(rules, slices.Concat(g.Ingress, g.Egress)...)
	}
	if len(rules) == 0 {
		return GroupRule{}
	}
	return rules[rng.IntN(len(rules))]
}

func BenchmarkCheck(b *testing.B) {
	n := fixture(b)
	p := tcp("10.0.1.5:40000", "203.0.113.200:21")
	b.ReportAllocs()
	for b.Loop() {
		n.Check("eni-client", out, p, false)
	}
}
