package analyze

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

func hostAt(s string) flow.Addr { return flow.AddrFrom(netip.MustParseAddr(s)) }

// web is a connection to a web server as the client's interface saw it.
func web(iface *Interface, t flow.Tuple) *Connection {
	l := &Leg{Interface: iface, Header: t, Seen: t, HasFlags: true, Start: scenarioStart, End: scenarioStart + 30}
	l.windows = []window{
		{start: scenarioStart, end: scenarioStart + 30, packets: 10, bytes: 900, forward: true, action: flow.Accept},
		{start: scenarioStart, end: scenarioStart + 30, packets: 9, bytes: 9000, action: flow.Accept},
	}
	iface.own = map[flow.Addr]bool{t.Src: true}
	l.sum()
	return &Connection{Tuple: t, Client: l, Start: l.Start, End: l.End}
}

// TestSettlingAllocatesNothing settles a connection without FTP whose filters
// and far end were seen before.
func TestSettlingAllocatesNothing(t *testing.T) {
	for name, h := range map[string]*rules.History{"with rules": network(t), "without": nil} {
		a := newAnalysis(Options{Network: h}.withDefaults(), newPortMeaning(nil))
		c := web(&Interface{ID: "eni-10.0.1.5"}, flow.Tuple{Src: hostAt("10.0.1.5"), Dst: hostAt("198.51.100.7"), SrcPort: 40000, DstPort: 443, Proto: flow.TCP})
		for range 2000 { // until the samples are full
			a.settle(c, roles{})
		}
		if allocs := testing.AllocsPerRun(100, func() { a.settle(c, roles{}) }); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
		if rows := a.demand.rows(); len(rows) < 2 || rows[0].Connections != 2101 {
			t.Errorf("%s: got %d rows: %+v", name, len(rows), rows)
		}
	}
}

// TestDenialsNameTheirOwnPeer rejects packets of clients beside their NAT
// gateway. The notes of the evidence name each far end, however much of what
// the rules say is remembered.
func TestDenialsNameTheirOwnPeer(t *testing.T) {
	a := &attributor{history: network(t, "eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client", "route subnet-public 198.51.100.0/24 nat-1")}
	iface := &Interface{ID: "eni-10.0.0.7"}
	for _, peer := range []string{"198.51.100.7", "198.51.100.8", "198.51.100.7"} {
		c := web(iface, flow.Tuple{Src: hostAt("10.0.0.7"), Dst: hostAt(peer), SrcPort: 40000, DstPort: 25, Proto: flow.TCP})
		c.Client.windows[0].action = flow.Reject
		c.Client.sum()
		ds := a.denials(c.Client, true)
		if len(ds) != 1 || !strings.Contains(ds[0].evidence, "the next hop to "+peer+",") {
			t.Errorf("%s: got %+v", peer, ds)
		}
	}
}

// slowPeers widens the set of all peers until there are few enough.
func slowPeers(addrs []flow.Addr, widths []int) []netip.Prefix {
	for _, bits := range widths {
		networks := map[netip.Prefix]bool{}
		for _, a := range addrs {
			networks[a.Prefix(bits)] = true
		}
		if len(networks) <= maxPeers {
			return slices.SortedFunc(maps.Keys(networks), netip.Prefix.Compare)
		}
	}
	return nil
}

// TestPeersOfSlot compares the peers that a slot keeps with those made of all
// peers at once, and counts that no connection is lost.
func TestPeersOfSlot(t *testing.T) {
	rng := rand.New(rand.NewPCG(47, 1))
	for round := range 60 {
		n, spread := 1+rng.IntN(400), 1+rng.IntN(17)
		v6 := round%2 == 0
		var addrs []flow.Addr
		for range n {
			b := netip.MustParseAddr("2001:db8::1").As16()
			if rng.IntN(3) == 0 {
				b = [16]byte{15: 1} // next to ::, which reads as no address
			}
			for range rng.IntN(spread) {
				b[rng.IntN(16)] = byte(rng.IntN(256))
			}
			a := netip.AddrFrom16(b)
			if !v6 {
				a = netip.AddrFrom4([4]byte(b[12:]))
			}
			if f := flow.AddrFrom(a); f.IsValid() && f.Is4() != v6 {
				addrs = append(addrs, f)
			}
		}
		s := &slotUse{peers: map[flow.Addr]*portUseAt{}}
		for _, a := range addrs {
			s.peer(a).connections++
			s.peer(addrs[rng.IntN(len(addrs))]).connections++
		}
		var got []netip.Prefix
		count := 0
		for peer, p := range s.all() {
			got = append(got, peer)
			count += p.connections
		}
		want := slowPeers(addrs, pickWidths(v6))
		if !slices.Equal(got, want) || count != 2*len(addrs) {
			t.Fatalf("%d peers: got %v with %d connections, want %v", len(addrs), got, count, want)
		}
	}
}

func pickWidths(v6 bool) []int {
	if v6 {
		return widths6
	}
	return widths4
}

// TestUsages says of every kind of hop whose ports it is about, as the port
// demand names it.
func TestUsages(t *testing.T) {
	session, data, active := roles{session: &session{}}, roles{data: &dataConn{}}, roles{data: &dataConn{active: true}}
	for _, c := range []struct {
		r    roles
		port uint16
		p    Point
		from bool
		want string
	}{
		{session, 21, P1, true, "control fixed"},
		{session, 21, P4, false, "reply nat-gateway"},
		{session, 21, P6, false, "reply client-os"},
		{data, 50000, P3, true, "data server"},
		{data, 50000, P5, false, "reply client-os"},
		{active, 40000, P6, true, "data client-os"},
		{active, 40000, P1, false, "reply fixed"},
		{roles{}, 443, P1, true, "other fixed"},
		{roles{}, 9999, P1, true, "other server"},
		{roles{}, 9999, P4, false, "other nat-gateway"},
		{roles{}, 443, P6, false, "other client-os"},
	} {
		conn := &Connection{Tuple: flow.Tuple{DstPort: c.port}}
		u := usages[c.r.usage(conn, &hop{point: c.p, fromInitiator: c.from})]
		if got := fmt.Sprint(u.purpose, " ", u.chosenBy); got != c.want {
			t.Errorf("port %d at %v: got %s, want %s", c.port, c.p, got, c.want)
		}
	}
}
