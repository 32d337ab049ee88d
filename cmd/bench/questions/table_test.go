package questions

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"ephemera/ingest/flow"
)

func TestWords(t *testing.T) {
	for _, s := range []string{"10.1.2.3", "255.255.255.255", "2001:db8::7", "1:2:3:4:5:6:7:8"} {
		a, err := flow.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		b := a.Netip().As16()
		hi, lo := words(a)
		if hi != binary.BigEndian.Uint64(b[:8]) || lo != binary.BigEndian.Uint64(b[8:]) {
			t.Errorf("%s: got words %x %x", s, hi, lo)
		}
	}
}

// TestTableOracle compares a table with a map, with hashes good and bad.
func TestTableOracle(t *testing.T) {
	for _, c := range []struct {
		name    string
		keys, n int
		hash    func(uint64) uint64
	}{
		{"few keys", 10, 10_000, func(k uint64) uint64 { return fold(k^1, hashFactor) }},
		{"many keys", 50_000, 200_000, func(k uint64) uint64 { return fold(k^1, hashFactor) }},
		{"equal hashes", 300, 3000, func(uint64) uint64 { return 1<<64 - 1 }},
		{"hashes at the end", 3000, 9000, func(k uint64) uint64 { return 1<<64 - 1 - k<<32 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, want := newTable[uint64](), map[uint64]sums{}
			for i := range c.n {
				k := rand.Uint64N(uint64(c.keys))
				s := sums{1, uint64(i), k, int64(-i), int64(i)}
				*got.next(c.hash(k)) = entry[uint64]{k, s}
				if sum, known := want[k]; known {
					sum.add(&s)
					s = sum
				}
				want[k] = s
			}
			if got.len() != len(want) {
				t.Errorf("got %d keys, want %d", got.len(), len(want))
			}
			for e := range got.all() {
				if e.sums != want[e.key] {
					t.Fatalf("key %d: got %+v, want %+v", e.key, e.sums, want[e.key])
				}
			}
		})
	}
}

// TestSteadyStateAllocates checks that answering costs no memory for records
// whose keys are known, while time goes on.
func TestSteadyStateAllocates(t *testing.T) {
	w := newWorld(5, 20, 600, 60)
	records := w.records(2000)
	a := newAnswers(testSubnets, true)
	groups := newFlows()
	var shift int64
	round := func() {
		for i := range records {
			r := records[i]
			r.Start, r.End = r.Start+shift, r.End+shift
			if err := a.add(&r); err != nil {
				t.Fatal(err)
			}
			groups.add(0, &r)
		}
		shift += 600
	}
	for range 60 { // ten hours: until the queue's chunks are used again
		round()
	}
	if n := testing.AllocsPerRun(20, round); n > 0 {
		t.Errorf("%v allocations for %d records, want none", n, len(records))
	}
}

// TestDemandCarries counts one port more often than a page's counter can.
func TestDemandCarries(t *testing.T) {
	const n = 3<<16 + 5
	d := newDemand(nil)
	d.open("eni-1")
	r := tcp(1, 2, 65535, 0, 0)
	for range n {
		d.add(0, &r)
	}
	got := csvOf(t, d.write)
	if want := "subnet_id,protocol,dstport,records\n,6,65535,196613\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkAnswers(b *testing.B) {
	records := newWorld(5, 1000, 3*3600, 60).records(100_000)
	b.Run("ask", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a := newAnswers(testSubnets, true)
			for i := range records {
				if err := a.add(&records[i]); err != nil {
					b.Fatal(err)
				}
			}
			a.sessions.end()
		}
		b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("aggregate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			groups := newFlows()
			for i := range records {
				groups.add(0, &records[i])
			}
			groups.len()
		}
		b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
