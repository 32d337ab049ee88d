package rules

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// allowances reads "10.0.0.0/24 80;443, 10.0.2.0/24 21".
func allowances(t testing.TB, text string) []Allowance {
	t.Helper()
	var as []Allowance
	for line := range strings.SplitSeq(text, ",") {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		ports, err := ParsePorts(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		as = append(as, Allowance{netip.MustParsePrefix(fields[0]), ports})
	}
	return as
}

func showAllowances(as []Allowance) string {
	var words []string
	for _, a := range as {
		words = append(words, fmt.Sprint(a.Peer, " ", a.Ports))
	}
	return strings.Join(words, ", ")
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ as, want string }{
		{"", ""},
		{"10.0.0.0/24 80", "10.0.0.0/24 80"},
		{"10.0.0.7/24 80", "10.0.0.0/24 80"},

		// One prefix once and its neighbour's neighbour twice.
		{"10.0.0.0/24 80, 10.0.2.0/24 80, 10.0.2.0/24 80", "10.0.0.0/24 80, 10.0.2.0/24 80"},
		{"10.0.2.0/24 80, 10.0.2.0/24 80, 10.0.0.0/24 80", "10.0.0.0/24 80, 10.0.2.0/24 80"},
		{"2001:db8::/64 80, 2001:db8:0:2::/64 80, 2001:db8:0:2::/64 80", "2001:db8::/64 80, 2001:db8:0:2::/64 80"},
		{"10.0.0.0/24 80, 10.0.0.0/24 80, 10.0.2.0/24 80", "10.0.0.0/24 80, 10.0.2.0/24 80"},
		{"10.0.1.0/24 80, 10.0.2.0/24 80", "10.0.1.0/24 80, 10.0.2.0/24 80"}, // adjacent, but no siblings
		{"10.0.0.0/24 80, 10.0.1.0/24 80, 10.0.1.0/24 80", "10.0.0.0/23 80"},
		{"2001:db8::/64 80, 2001:db8:0:1::/64 80", "2001:db8::/63 80"},

		{"10.0.0.0/24 80, 10.0.0.0/24 81", "10.0.0.0/24 80-81"},
		{"10.0.0.0/24 80, 10.0.0.9/32 80", "10.0.0.0/24 80"},
		{"10.0.0.0/24 80, 10.0.0.9/32 80;90", "10.0.0.0/24 80, 10.0.0.9/32 90"},
		{"10.0.0.0/24 80-90, 10.0.0.9/32 70-100", "10.0.0.0/24 80-90, 10.0.0.9/32 70-100"}, // not split in two
		{"10.0.0.0/24 80, 10.0.0.0/25 79, 10.0.0.0/26 81", "10.0.0.0/24 80, 10.0.0.0/25 79, 10.0.0.0/26 81"},
		{"10.0.0.0/32 1, 10.0.0.1/32 1, 10.0.0.2/31 1", "10.0.0.0/30 1"},
		{"10.0.0.0/32 1-5, 10.0.0.1/32 3-9", "10.0.0.0/32 1-5, 10.0.0.1/32 3-9"},
		{"10.0.0.0/32 1;5, 10.0.0.1/32 5;9", "10.0.0.0/31 5, 10.0.0.0/32 1, 10.0.0.1/32 9"},
		{"0.0.0.0/1 22, 128.0.0.0/1 22, ::/1 22, 8000::/1 22", "0.0.0.0/0 22, ::/0 22"},
		{"0.0.0.0/0 22, ::/0 22", "0.0.0.0/0 22, ::/0 22"},
		{"::ffff:10.0.0.0/104 22, 10.0.0.0/8 22", "10.0.0.0/8 22, ::ffff:10.0.0.0/104 22"},
	} {
		as := allowances(t, c.as)
		got := showAllowances(Merge(as))
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.as, got, c.want)
		}
		slices.Reverse(as)
		if again := showAllowances(Merge(as)); again != got {
			t.Errorf("%s: got %s, the other way round %s", c.as, got, again)
		}
	}
}

func TestMergeLeavesOutNothings(t *testing.T) {
	got := Merge([]Allowance{
		{Ports: AllPorts()},
		{Peer: netip.MustParsePrefix("10.0.0.0/8")},
		{Peer: netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 99), Ports: AllPorts()},
	})
	if len(got) != 0 || EntryCount(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

// A board has a bit for each of up to 64 ports of each of a few peers.
type board [32]uint64

func (b *board) paint(prefix netip.Prefix, ports PortSet) {
	for i := range b {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		if prefix.Addr().Is6() {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		}
		if !prefix.Contains(a) {
			continue
		}
		for port := range uint16(64) {
			if ports.Contains(port) {
				b[i] |= 1 << port
			}
		}
	}
}

func painted(as []Allowance) (b board) {
	for _, a := range as {
		b.paint(a.Peer, a.Ports)
	}
	return b
}

// randomAllowances draws prefixes in the last bits of one network, with
// ports below 64.
func randomAllowances(rng *rand.Rand, network netip.Prefix) []Allowance {
	var as []Allowance
	for range 1 + rng.IntN(14) {
		b := network.Addr().AsSlice()
		b[len(b)-1] |= byte(rng.IntN(32))
		a, _ := netip.AddrFromSlice(b)
		var ranges []PortRange
		for range 1 + rng.IntN(3) {
			from := rng.IntN(8) * 8
			ranges = append(ranges, PortRange{uint16(from), uint16(min(63, from+rng.IntN(20)))})
		}
		as = append(as, Allowance{netip.PrefixFrom(a, network.Bits()+rng.IntN(6)).Masked(), Ports(ranges...)})
	}
	return as
}

func TestMergeAgainstBitmap(t *testing.T) {
	rng := rand.New(rand.NewPCG(42, 1))
	saved := 0
	for i := range rounds(6000) {
		network := netip.MustParsePrefix([]string{"10.0.0.0/27", "2001:db8::/123"}[i%2])
		as := randomAllowances(rng, network)
		got := Merge(as)
		if painted(got) != painted(as) {
			t.Fatalf("%s: got %s, which is not the same", showAllowances(as), showAllowances(got))
		}
		if EntryCount(got) > EntryCount(as) {
			t.Fatalf("%s: got %s, which is more", showAllowances(as), showAllowances(got))
		}
		saved += EntryCount(as) - EntryCount(got)
		rng.Shuffle(len(as), func(i, j int) { as[i], as[j] = as[j], as[i] })
		if again := Merge(as); showAllowances(again) != showAllowances(got) {
			t.Fatalf("got %s, in another order %s", showAllowances(got), showAllowances(again))
		}
		if again := Merge(got); showAllowances(again) != showAllowances(got) {
			t.Fatalf("got %s, merged again %s", showAllowances(got), showAllowances(again))
		}
	}
	if saved == 0 {
		t.Error("nothing was ever merged")
	}
}

// fewestEntries tries ever more rectangles, each of all those that a set of
// four peers and six ports has, until some paint just the bits of want.
// The bit of port q for peer p is 6p+q.
func fewestEntries(want uint32) int {
	var inside []uint32
	for size := 1; size <= 4; size *= 2 {
		for first := 0; first < 4; first += size {
			for from := range 6 {
				for to := from; to < 6; to++ {
					var r uint32
					for p := first; p < first+size; p++ {
						r |= (1<<(to+1) - 1<<from) << (6 * p)
					}
					if r&^want == 0 {
						inside = append(inside, r)
					}
				}
			}
		}
	}
	n := 0
	for !paintable(want, inside, n) {
		n++
	}
	return n
}

// paintable reports whether n of the rectangles hold all the bits of want.
func paintable(want uint32, inside []uint32, n int) bool {
	if want == 0 {
		return true
	}
	if n == 0 {
		return false
	}
	lowest := uint32(1) << bits.TrailingZeros32(want)
	for _, r := range inside {
		if r&lowest != 0 && paintable(want&^r, inside, n-1) {
			return true
		}
	}
	return false
}

// TestMergeIsOptimal compares with the best of all sets of entries.
func TestMergeIsOptimal(t *testing.T) {
	rng := rand.New(rand.NewPCG(42, 2))
	for range rounds(1500) {
		want := rng.Uint32() & (1<<24 - 1)
		if rng.IntN(3) > 0 {
			want |= rng.Uint32() & (1<<24 - 1)
		}
		var as []Allowance
		for p := range 4 {
			var b PortBitmap
			for port := range 6 {
				if want>>(6*p+port)&1 == 1 {
					b.Add(uint16(port))
				}
			}
			as = append(as, Allowance{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(p)}), 32), b.Set()})
		}
		if got, fewest := EntryCount(Merge(as)), fewestEntries(want); got != fewest {
			t.Fatalf("%s: got %s with %d entries, want %d", showAllowances(as), showAllowances(Merge(as)), got, fewest)
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	rng := rand.New(rand.NewPCG(42, 3))
	var as []Allowance
	for range 5000 {
		peer := netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(40)), byte(rng.IntN(256))})
		from := uint16(rng.IntN(4)) * 1000
		as = append(as, Allowance{netip.PrefixFrom(peer, 32), Ports(PortRange{from, from + 1500})})
	}
	b.ReportAllocs()
	for b.Loop() {
		Merge(as)
	}
}
