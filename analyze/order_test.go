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
			if fill(rng, reflect.ValueOf(&k.tuple).Elem()); !seen[k] {
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

// sortConnections against sorting by compareConnections alone.
func TestSortConnections(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 2))
	list, _ := someInterfaces()
	var j joiner
	for range 100 {
		var got []*Connection
		for range rng.IntN(60) {
			got = append(got, randomConnection(rng, list))
		}
		want := slices.Clone(got)
		slices.SortFunc(want, compareConnections)
		if j.sortConnections(got); !slices.EqualFunc(got, want, func(a, b *Connection) bool { return compareConnections(a, b) == 0 }) {
			t.Fatalf("%d connections: another order", len(got))
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
