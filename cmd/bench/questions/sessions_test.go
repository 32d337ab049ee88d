package questions

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// shortQueue makes sessions whose queue lets go of each record as soon as it
// may.
func shortQueue() *sessions {
	s := newSessions(true)
	s.queue.chunkLen = 1
	return s
}

// feed passes the TCP records of status OK to s.
func feed(s *sessions, seen *interfaces, records []flow.Record) error {
	for i := range records {
		if r := &records[i]; r.Status == flow.OK && r.Proto == flow.TCP {
			n, _ := seen.number(r.InterfaceID)
			if err := s.add(n, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// csvOf returns what write writes.
func csvOf(t *testing.T, write func(*csvWriter)) string {
	t.Helper()
	var out bytes.Buffer
	w := &csvWriter{out: bufio.NewWriter(&out)}
	write(w)
	if err := w.out.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestSessionsLetGo has the least memory that the promise of order allows:
// records must be let go, and none too early.
func TestSessionsLetGo(t *testing.T) {
	for seed := range uint64(20) {
		interval := []int64{0, 60, 300, 600}[seed%4]
		records := newWorld(seed, 10, 4*3600, interval).records(3000)
		s, seen, most := shortQueue(), interfaces{}, 0
		for i := range records {
			if err := feed(s, &seen, records[i:i+1]); err != nil {
				t.Fatalf("seed %d: %v, in a log that keeps its promise", seed, err)
			}
			most = max(most, len(s.queue.chunks))
		}
		s.end()
		got := csvOf(t, func(w *csvWriter) { s.write(w, &seen) })
		if want := wantSessions(records); got != want {
			t.Errorf("seed %d: %s", seed, firstDifference(got, want))
		}
		// Records wait for 30 minutes and an interval, and for as much
		// disorder as is behind them: an hour and a quarter at most, where
		// the log has four hours.
		if most > len(records)/2 {
			t.Errorf("seed %d: %d of %d records waited at once", seed, most, len(records))
		}
	}
}

// tcp is a record of one host to another, both by their last byte.
func tcp(src, dst byte, dstPort uint16, start, end int64) flow.Record {
	return flow.Record{
		InterfaceID: "eni-1", Src: flow.AddrFrom4(10<<24 | uint32(src)), Dst: flow.AddrFrom4(10<<24 | uint32(dst)),
		SrcPort: 50000, DstPort: dstPort, Proto: flow.TCP, Packets: 1, Bytes: 40,
		Start: worldStart + start, End: worldStart + end, Action: flow.Accept,
	}
}

// TestSessionsBounds has a data record between hosts 1 and 2 that ends at 0,
// and at the latest moment the control record that decides about it.
func TestSessionsBounds(t *testing.T) {
	data := tcp(2, 1, 5000, -10, 0)
	for _, c := range []struct {
		name   string
		behind []flow.Record
		want   int // rows
	}{
		{"control at 900", []flow.Record{tcp(1, 2, 21, 900, 900)}, 2},
		{"control at 901", []flow.Record{tcp(1, 2, 21, 901, 901)}, 1},
		{"implicit TLS", []flow.Record{tcp(1, 2, 990, 900, 900)}, 2},
		{"another port", []flow.Record{tcp(1, 2, 22, 900, 900)}, 0},
		{"another host", []flow.Record{tcp(1, 3, 21, 900, 900)}, 1},
		{"as late as can be", []flow.Record{tcp(8, 9, 80, 1850, 1860), tcp(1, 2, 21, 900, 960)}, 2},
		{"the first of two", []flow.Record{tcp(1, 2, 21, 950, 960), tcp(1, 2, 21, 900, 960)}, 2},
		{"the last of two", []flow.Record{tcp(1, 2, 21, 950, 960), tcp(1, 2, 21, 901, 960)}, 1},
		{"as late as long intervals can be", []flow.Record{
			tcp(8, 9, 80, 0, 600), tcp(8, 9, 80, 2300, 2400), tcp(1, 2, 21, 900, 1500),
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shortQueue()
			var seen interfaces
			if err := feed(s, &seen, append([]flow.Record{data}, c.behind...)); err != nil {
				t.Fatal(err)
			}
			s.end()
			got := strings.Count(csvOf(t, func(w *csvWriter) { s.write(w, &seen) }), "\n") - 1
			if got != c.want {
				t.Errorf("got %d rows, want %d", got, c.want)
			}
		})
	}
}

// TestSessionsLate has a control record that comes after the record that it
// concerns was let go.
func TestSessionsLate(t *testing.T) {
	for _, c := range []struct {
		start int64 // of the control record
		want  error
	}{
		{899, errLate}, {900, errLate}, {901, nil},
	} {
		s := shortQueue()
		var seen interfaces
		err := feed(s, &seen, []flow.Record{
			tcp(2, 1, 5000, -10, 0), tcp(8, 9, 80, 1861, 1861), tcp(1, 2, 21, c.start, c.start+60),
		})
		if !errors.Is(err, c.want) {
			t.Errorf("control at %d: got %v, want %v", c.start, err, c.want)
		}
	}
}

func TestPack(t *testing.T) {
	usual := tcp(1, 2, 3, 0, 60)
	for _, c := range []struct {
		name   string
		change func(*flow.Record)
		fits   bool
	}{
		{"usual", func(*flow.Record) {}, true},
		{"rejected", func(r *flow.Record) { r.Action = flow.Reject }, true},
		{"no action", func(r *flow.Record) { r.Action = flow.NoAction }, true},
		{"greatest", func(r *flow.Record) {
			r.Start, r.Packets, r.Bytes = 1<<32-1, 1<<32-1, 1<<46-1
			r.End = r.Start + 1<<16 - 1
		}, true},
		{"long", func(r *flow.Record) { r.End = r.Start + 1<<16 }, false},
		{"end before start", func(r *flow.Record) { r.End = r.Start - 1 }, false},
		{"early", func(r *flow.Record) { r.Start = -1 }, false},
		{"far", func(r *flow.Record) { r.Start = 1 << 32; r.End = r.Start }, false},
		{"many packets", func(r *flow.Record) { r.Packets = 1 << 32 }, false},
		{"many bytes", func(r *flow.Record) { r.Bytes = 1 << 46 }, false},
		{"no source", func(r *flow.Record) { r.Src = flow.Addr{} }, false},
		{"IPv6", func(r *flow.Record) { r.Dst, _ = flow.ParseAddr("2001:db8::1") }, false},
	} {
		r := usual
		c.change(&r)
		h, ok := pack(1<<32-1, &r)
		if ok != c.fits {
			t.Errorf("%s: fits %v, want %v", c.name, ok, c.fits)
		}
		if !ok {
			continue
		}
		k := h.key().wide()
		got := []any{k.interfaceNumber(), k.src, k.dst, k.srcPort(), k.dstPort(), k.protocol(), k.action(), h.sums()}
		want := []any{
			uint32(1<<32 - 1), r.Src, r.Dst, r.SrcPort, r.DstPort, r.Proto, r.Action,
			sums{1, r.Packets, r.Bytes, r.Start, r.End},
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}

func TestPairs(t *testing.T) {
	p := newPairs()
	const n = 5000 // so many that the filter grows
	host := func(i int) flow.Addr {
		if i%3 == 0 {
			a, _ := flow.ParseAddr(fmt.Sprintf("2001:db8::%x", i))
			return a
		}
		return flow.AddrFrom4(uint32(i))
	}
	for i := range n {
		p.see(host(i), host(i+1), int64(i))
	}
	passed := 0
	for i := range n {
		for _, h := range [][2]flow.Addr{{host(i), host(i + 1)}, {host(i + 1), host(i)}} {
			if since, ok := p.since(h[0], h[1]); !ok || since != int64(i)-before || !p.may(hashHosts(h[0], h[1])) {
				t.Fatalf("pair %v: since %d, %v, in the filter %v", h, since, ok, p.may(hashHosts(h[0], h[1])))
			}
		}
		if p.may(hashHosts(host(i), host(i+2))) {
			passed++
		}
		if _, ok := p.since(host(i), host(i+2)); ok {
			t.Fatalf("%v and %v are no pair", host(i), host(i+2))
		}
	}
	if passed > n/16 {
		t.Errorf("the filter passed %d of %d other pairs, want one in 32", passed, n)
	}
	if p.see(host(1), host(2), 1) || p.see(host(2), host(1), 7) || !p.see(host(2), host(1), 0) {
		t.Error("only an earlier control record is the first")
	}
}
