package rules

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"ephemera/ingest/flow"
)

func addr(s string) flow.Addr { return flow.AddrFrom(netip.MustParseAddr(s)) }

func TestNextHop(t *testing.T) {
	n := fixture(t)
	for _, c := range []struct{ subnet, dst, want string }{
		{"subnet-private", "10.0.3.5", "local"},
		{"subnet-private", "203.0.113.200", "vpce-1"}, // prefix list
		{"subnet-private", "203.0.114.1", "nat-public"},
		{"subnet-private", "2001:db8:ffff::1", "eigw-1"},
		{"subnet-mixed", "192.0.2.1", "eni-appliance"},
		{"subnet-mixed", "2001:db8:ffff::1", ""},
		{"subnet-plain", "10.0.0.1", "local"}, // main route table
		{"subnet-plain", "172.16.0.1", "tgw-1"},
		{"subnet-plain", "203.0.113.200", ""},
		{"subnet-public", "203.0.113.1", "eni-appliance"}, // as long as the prefix list's, but written by hand
		{"subnet-b", "10.0.0.1", ""},                      // no route table at all
		{"subnet-0", "10.0.0.1", ""},
	} {
		got, ok := n.NextHop(c.subnet, addr(c.dst))
		if got.Target != c.want || ok != (c.want != "") {
			t.Errorf("%s to %s: got %+v, %v, want %q", c.subnet, c.dst, got, ok, c.want)
		}
	}
	if r, _ := n.NextHop("subnet-private", addr("203.0.113.200")); r.Prefix.String() != "203.0.113.128/25" || r.PrefixList != "pl-0a1" {
		t.Errorf("prefix list route: got %+v, want 203.0.113.128/25 of pl-0a1", r)
	}
	if r, _ := n.NextHop("subnet-plain", addr("172.16.0.1")); !r.Blackhole {
		t.Errorf("route to 172.16.0.1: got %+v, want a black hole", r)
	}
}

func TestInterfaceByAddr(t *testing.T) {
	n := fixture(t)
	for _, c := range []struct{ vpc, addr, want string }{
		{"vpc-a", "10.0.1.5", "eni-client"},
		{"vpc-b", "10.0.1.5", "eni-b"},
		{"vpc-b", "10.0.1.6", ""},
		{"vpc-a", "2001:db8:0:1::5", "eni-client"},
		{"vpc-a", "10.0.0.221", "eni-nat"},
		{"vpc-a", "10.0.1.47", "eni-neighbour"}, // delegated prefix
		{"vpc-a", "10.0.1.48", ""},
		{"vpc-a", "10.0.3.220", "eni-hidden"},
		{"vpc-a", "198.51.100.77", ""}, // public addresses stay outside
		{"vpc-a", "10.0.0.99", ""},     // deleted
	} {
		got := ""
		if i := n.InterfaceByAddr(c.vpc, addr(c.addr)); i != nil {
			got = i.ID
		}
		if got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.vpc, c.addr, got, c.want)
		}
	}
}

func TestSubnets(t *testing.T) {
	n := fixture(t)
	for _, c := range []struct {
		vpc, addr, subnet string
		local             bool
	}{
		{"vpc-a", "10.0.1.200", "subnet-private", true},
		{"vpc-b", "10.0.1.200", "subnet-b", true},
		{"vpc-a", "2001:db8:0:1::77", "subnet-private", true},
		{"vpc-a", "2001:db8:0:ffff::1", "", false},
		{"vpc-a", "10.0.99.1", "", true}, // the VPC's local route
		{"vpc-b", "10.0.99.1", "", false},
		{"vpc-a", "203.0.113.1", "", false},
		{"vpc-c", "10.0.1.200", "", false},
	} {
		got := ""
		if s := n.SubnetOf(c.vpc, addr(c.addr)); s != nil {
			got = s.ID
		}
		if local := n.IsLocal(c.vpc, addr(c.addr)); got != c.subnet || local != c.local {
			t.Errorf("%s %s: got %q, local %v, want %q, %v", c.vpc, c.addr, got, local, c.subnet, c.local)
		}
	}
	for subnet, want := range map[string]string{"subnet-public": "acl-public", "subnet-plain": "acl-default-a", "subnet-b": "acl-b"} {
		if got := n.ACLOf(subnet); got == nil || got.ID != want {
			t.Errorf("network ACL of %s: got %+v, want %s", subnet, got, want)
		}
	}
	if got := n.ACLOf("subnet-0"); got != nil {
		t.Errorf("network ACL of no subnet: got %+v", got)
	}
}

func TestNATGateways(t *testing.T) {
	n := fixture(t)
	var ids []string
	for _, g := range n.NATGateways() {
		ids = append(ids, g.ID)
	}
	if want := []string{"nat-hidden", "nat-mixed", "nat-public", "nat-regional"}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
	public := n.NATGateway("nat-public")
	if got, want := public.PrivateAddrs, []flow.Addr{addr("10.0.0.220"), addr("10.0.0.221")}; !slices.Equal(got, want) {
		t.Errorf("addresses: got %v, want %v", got, want)
	}
	if !public.Public || public.Regional || !slices.Equal(public.Interfaces, []string{"eni-nat"}) {
		t.Errorf("got %+v", public)
	}
	if g := n.NATGateway("nat-regional"); !g.Regional || !g.Public || g.SubnetID != "" {
		t.Errorf("got %+v", g)
	}
	for id, want := range map[string]string{"eni-nat": "nat-public", "eni-nat-mixed": "nat-mixed", "eni-hidden": "nat-hidden"} {
		if g, i := n.NATGatewayOf(id), n.Interface(id); g == nil || g.ID != want || !i.IsNATGateway() || i.NATGatewayID != want {
			t.Errorf("%s: got %+v, %+v, want %s", id, g, i, want)
		}
	}
	if g := n.NATGatewayOf("nat-regional"); g == nil || g.ID != "nat-regional" {
		t.Errorf("by its own ID: got %+v, want nat-regional", g)
	}
	if n.NATGatewayOf("eni-client") != nil || n.Interface("eni-client").IsNATGateway() {
		t.Error("eni-client passes for a NAT gateway")
	}
}

func TestInterfaceFields(t *testing.T) {
	i := fixture(t).Interface("eni-client")
	if i.InstanceID != "i-client" || i.Primary != addr("10.0.1.5") || !slices.Equal(i.Groups, []string{"sg-ftp", "sg-web"}) ||
		i.Tracking.TCPEstablished != 350*time.Second || i.Tracking.UDP != 0 {
		t.Errorf("got %+v", i)
	}
}

func TestWith(t *testing.T) {
	n := fixture(t)
	p := tcp("203.0.113.200:21", "10.0.0.220:25000")
	open := *n.ACL("acl-public")
	open.Entries = []Entry{{RuleNumber: 1, Allow: true, Protocol: AllProtocols, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	changed := n.With([]*NetworkACL{&open}, nil)
	if _, denied := changed.Check("eni-nat", in, p, true).Deciding(); denied {
		t.Error("the changed network ACL denies")
	}
	if _, denied := n.Check("eni-nat", in, p, true).Deciding(); !denied {
		t.Error("the network itself was changed")
	}
	shut := n.With(nil, []*SecurityGroup{{ID: "sg-ftp"}})
	if v, denied := shut.Check("eni-client", out, tcp("10.0.1.5:40000", "203.0.113.200:21"), false).Deciding(); !denied || v.Layer != SG {
		t.Errorf("got %+v, %v, want a denial by the emptied group", v, denied)
	}
}
