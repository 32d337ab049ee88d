package analyze

import (
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

// sortGroups against sorting by compareKeys alone.
func TestSortGroups(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 1))
	c := newCollector()
	ifaces := []*Interface{{rank: 2}, {rank: 0}, {rank: 3}, {rank: 1}}
	for range 200 {
		seen := map[groupKey]bool{}
		var got []*group
		for range rng.IntN(150) {
			k := groupKey{iface: ifaces[rng.IntN(len(ifaces))]}
			fill(rng, reflect.ValueOf(&k.tuple).Elem())
			if rng.IntN(2) == 0 {
				k.tuple.Dst = flow.AddrFrom4(rng.Uint32())
			}
			if !seen[k] {
				seen[k] = true
				got = append(got, &group{key: k})
			}
		}
		want := slices.Clone(got)
		slices.SortFunc(want, func(a, b *group) int { return compareKeys(a.key, b.key) })
		if c.sortGroups(got); !slices.Equal(got, want) {
			for i, g := range got {
				if g != want[i] {
					t.Fatalf("group %d: got %v, want %v", i, g.key.tuple, want[i].key.tuple)
				}
			}
		}
	}
}

// order34 against Compare: it never turns two addresses round, and tells all
// of IPv4 apart.
func TestOrder34(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 3))
	for range 5000 {
		var a, b flow.Addr
		fill(rng, reflect.ValueOf(&a).Elem())
		fill(rng, reflect.ValueOf(&b).Elem())
		got, want := cmp.Compare(order34(a), order34(b)), a.Compare(b)
		if got != want && (got != 0 || a.Is4() && b.Is4()) || order34(a)>>34 > 0 {
			t.Fatalf("%v and %v: got %d, want %d", a, b, got, want)
		}
	}
}

// sortBy against sorting by both, stably.
func TestSortBy(t *testing.T) {
	type value struct{ time, name, number int }
	rng := rand.New(rand.NewPCG(12, 4))
	byName := func(a, b value) int { return cmp.Compare(a.name, b.name) }
	for range 300 {
		var got []value
		for n := range rng.IntN(60) {
			got = append(got, value{rng.IntN(6), rng.IntN(3), n})
		}
		want := slices.Clone(got)
		slices.SortStableFunc(want, func(a, b value) int { return cmp.Or(cmp.Compare(a.time, b.time), byName(a, b)) })
		if sortBy(got, func(v value) int64 { return int64(v.time) }, byName); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// grouped against a list for each group.
func TestGrouped(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 5))
	for range 300 {
		n := 1 + rng.IntN(20)
		numbers, want := make([]int32, rng.IntN(80)), make([][]int, n)
		for k := range numbers {
			i := rng.IntN(n)
			numbers[k] = int32(i)
			want[i] = append(want[i], k)
		}
		g := grouped(numbers, n)
		for i := range want {
			got := g.of(int32(i))
			if !slices.Equal(got, want[i]) || cap(got) > len(got) {
				t.Fatalf("%v, group %d: got %v with room for %d, want %v", numbers, i, got, cap(got), want[i])
			}
		}
	}
}

// A portFlags against a map of ports.
func TestPortFlags(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 6))
	for range 20 {
		want := map[uint16]bool{}
		for range rng.IntN(300) {
			want[uint16(rng.IntN(1<<(1+rng.IntN(16))))] = true
		}
		f := flagged(sortedKeys(want)...)
		for p := range 1 << 16 {
			if got := f.has(uint16(p)); got != want[uint16(p)] {
				t.Fatalf("port %d: got %t, want %t", p, got, want[uint16(p)])
			}
		}
		if got := f.ports(); !slices.Equal(got, sortedKeys(want)) {
			t.Fatalf("got the ports %v, want %v", got, sortedKeys(want))
		}
	}
}

// sortWindows against sorting by compare.
func TestSortWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 7))
	for range 2000 {
		got := make([]window, rng.IntN(24))
		for i := range got {
			got[i] = window{start: rng.Int64N(3), end: rng.Int64N(3), packets: rng.Uint64N(3), forward: rng.IntN(2) == 0, header: rng.Int32N(3) - 1}
		}
		want := slices.SortedFunc(slices.Values(got), window.compare)
		if sortWindows(got); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// What an arena hands out is of the length asked for, and of nobody else,
// until it is emptied.
func TestArena(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 8))
	var a arena[int]
	for range 50 {
		a.empty()
		var got, want [][]int
		for n := range rng.IntN(60) {
			v := slices.Repeat([]int{n}, rng.IntN(1+rng.IntN(3*arenaChunk)))
			want = append(want, v)
			got = append(got, a.copyOf(v))
			_ = append(got[rng.IntN(n+1)], -1) // which goes elsewhere
		}
		for n := range want {
			if !slices.Equal(got[n], want[n]) {
				t.Fatalf("number %d: got %d of %v, want %d", n, len(got[n]), got[n][:min(1, len(got[n]))], len(want[n]))
			}
		}
	}
	if n := len(a.chunks); n > 400 {
		t.Errorf("%d chunks for at most 60 lists at a time", n)
	}
}
