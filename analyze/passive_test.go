package analyze

import (
	"net/netip"
	"testing"

	"ephemera/ingest/flow"
)

func TestPassiveRange(t *testing.T) {
	o := Options{PassiveRanges: []PassiveRange{
		{netip.MustParsePrefix("203.0.113.10/32"), 50000, 50099},
		{netip.MustParsePrefix("203.0.113.10/32"), 60000, 60000},
		{netip.MustParsePrefix("198.51.100.0/24"), 1, 65535},
		{netip.MustParsePrefix("198.51.100.7/32"), 8192, 8200},
		{netip.MustParsePrefix("2001:db8::/64"), 40000, 40009},
	}}
	for _, c := range []struct {
		server        string
		port          uint16
		known, inside bool
	}{
		{"203.0.113.10", 49999, true, false},
		{"203.0.113.10", 50000, true, true},
		{"203.0.113.10", 50099, true, true},
		{"203.0.113.10", 50100, true, false},
		{"203.0.113.10", 60000, true, true}, // the ranges of one server add up
		{"203.0.113.10", 60001, true, false},
		{"203.0.113.11", 50000, false, false},
		{"198.51.100.7", 50000, true, true}, // also those of a wider network
		{"198.51.100.255", 65535, true, true},
		{"198.51.100.255", 0, true, false},
		{"2001:db8::1", 40009, true, true},
		{"2001:db8::1", 40010, true, false},
		{"2001:db8:0:1::1", 40000, false, false},
	} {
		server, err := flow.ParseAddr(c.server)
		if err != nil {
			t.Fatal(err)
		}
		if known, inside := o.passiveRange(server, c.port); known != c.known || inside != c.inside {
			t.Errorf("%s port %d: got known %v, inside %v; want %v, %v", c.server, c.port, known, inside, c.known, c.inside)
		}
	}
	if known, inside := o.passiveRange(flow.Addr{}, 50000); known || inside {
		t.Errorf("a server that is not known: got known %v, inside %v; want neither", known, inside)
	}
	if known, _ := (Options{}).passiveRange(flow.AddrFrom(netip.MustParseAddr("203.0.113.10")), 50000); known {
		t.Error("without ranges: got a known one, want none")
	}
}
