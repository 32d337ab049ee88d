package simulate

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// each runs a test on every preset, and on anything, with some seeds.
func each(t *testing.T, seeds uint64, test func(t *testing.T, x *Traffic)) {
	t.Run("anything", func(t *testing.T) {
		for seed := range 2 * seeds {
			test(t, Run(Anything(seed)))
		}
	})
	for _, p := range Presets() {
		t.Run(p.Name, func(t *testing.T) {
			for seed := range seeds {
				c := p.Config
				c.Seed = seed
				test(t, Run(c))
			}
		})
	}
}

// Anything holds what the presets hold.
func TestAnything(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(5) {
		c := Anything(seed)
		if !reflect.DeepEqual(c, Anything(seed)) {
			t.Fatalf("seed %d gives two situations", seed)
		}
		x := Run(c)
		if len(x.Sessions) < c.Sessions/2 || len(x.Records) < 6*len(x.Sessions) {
			t.Errorf("seed %d: %d sessions and %d records of %d sessions", seed, len(x.Sessions), len(x.Records), c.Sessions)
		}
		seen[len(x.Records)] = true
	}
	if len(seen) < 5 {
		t.Errorf("5 seeds give %d situations", len(seen))
	}
}

func TestDeterminism(t *testing.T) {
	for _, p := range Presets() {
		c := p.Config
		c.Sessions = 60
		a, b := Run(c), Run(c)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: two runs differ", p.Name)
		}
		c.Seed++
		if d := Run(c); reflect.DeepEqual(a.Records, d.Records) {
			t.Errorf("%s: another seed gives the same records", p.Name)
		}
	}
}

func TestZeroConfig(t *testing.T) {
	x := Run(Config{})
	if n := len(x.Sessions); n < 150 || n > 200 {
		t.Errorf("got %d sessions, want somewhat less than 200", n)
	}
	if len(x.Data) < 300 || len(x.Others) > 0 {
		t.Errorf("got %d data connections and %d others, want some hundred and none", len(x.Data), len(x.Others))
	}
}

// A sum is what the records of one connection say at one point.
type sum struct {
	packets, bytes uint64
	flags          flow.TCPFlags
}

// The six points agree on what passed, and every record belongs to a
// connection of the truth.
func TestConservation(t *testing.T) {
	each(t, 2, func(t *testing.T, x *Traffic) {
		if x.Config.Loss > 0 || !x.Config.Rich {
			return
		}
		sums := sumsByPoint(x)
		inside, times := map[Ends]Mapping{}, map[Ends]int{}
		for _, m := range x.Mappings {
			inside[m.Ends] = m
			times[m.Ends]++
			times[m.outside()]++
		}
		checked := 0
		for _, d := range x.Data {
			m, nat := inside[d.Ends]
			if d.Cut || d.Outcome != OK || !nat || times[d.Ends] > 1 || times[m.outside()] > 1 {
				continue
			}
			out := m.outside()
			up := [3]sum{sums[seenKey{"c", flow.Egress, d.Ends}], sums[seenKey{"n", flow.Ingress, d.Ends}], sums[seenKey{"n", flow.Egress, out}]}
			down := [3]sum{sums[seenKey{"n", flow.Ingress, out.Reverse()}], sums[seenKey{"n", flow.Egress, d.Ends.Reverse()}], sums[seenKey{"c", flow.Ingress, d.Ends.Reverse()}]}
			if up[0].packets < 3 || up[0] != up[1] || up[1] != up[2] || down[0].packets < 2 || down[0] != down[1] || down[1] != down[2] {
				t.Fatalf("%s: the points differ: up %v, down %v", d.Ends, up, down)
			}
			if bytes := map[bool]uint64{true: up[0].bytes, false: down[0].bytes}[d.Upload]; bytes < uint64(d.Bytes) {
				t.Fatalf("%s: %d bytes were moved, and %d are in the log", d.Ends, d.Bytes, bytes)
			}
			checked++
		}
		if len(x.Mappings) > 400 && checked == 0 {
			t.Error("nothing was checked")
		}
	})
}

// outside returns the connection's ends behind translation.
func (m Mapping) outside() Ends {
	return Ends{Src: m.NATAddr, SrcPort: m.NATPort, Dst: m.Dst, DstPort: m.DstPort, Proto: m.Proto}
}

// seenKey is a way of a connection at the client ("c") or the NAT gateway
// ("n").
type seenKey struct {
	iface     string
	direction flow.Direction
	ends      Ends
}

func sumsByPoint(x *Traffic) map[seenKey]sum {
	sums := map[seenKey]sum{}
	for i := range x.Records {
		r := &x.Records[i]
		if r.Status != flow.OK {
			continue
		}
		k := seenKey{"c", r.Direction, r.HeaderTuple()}
		if strings.HasPrefix(r.InterfaceID, "eni-0a7") {
			k.iface = "n"
		}
		s := sums[k]
		s.packets, s.bytes, s.flags = s.packets+r.Packets, s.bytes+r.Bytes, s.flags|r.TCPFlags
		sums[k] = s
	}
	return sums
}

// Records are as AWS could have written them.
func TestRecords(t *testing.T) {
	each(t, 2, func(t *testing.T, x *Traffic) {
		c := x.Config
		last, object := int64(0), int64(0)
		for i := range x.Records {
			r := &x.Records[i]
			if r.Start > r.End || r.End < Begin || r.End >= Begin+int64(c.Duration/time.Second) {
				t.Fatalf("times %d to %d, of a log from %d on", r.Start, r.End, int64(Begin))
			}
			if r.End-r.Start > int64(c.Window/time.Second) {
				t.Fatalf("a record of %d s, in windows of %s", r.End-r.Start, c.Window)
			}
			if object = (r.End - Begin) / 300; object < last {
				t.Fatalf("a record of object %d comes behind one of %d", object, last)
			}
			last = object
			if r.Status != flow.OK {
				continue
			}
			header := uint64(28)
			if r.Proto == flow.TCP {
				header = 40
			}
			if r.Packets == 0 || r.Bytes < header*r.Packets || r.Bytes > 1500*r.Packets {
				t.Fatalf("%s: %d packets of %d bytes", r.Tuple(), r.Packets, r.Bytes)
			}
			if r.Has.Has(flow.FieldTCPFlags) != c.Rich || r.PktSrc.IsValid() != c.Rich {
				t.Fatalf("fields %b of a log with rich %t", r.Has, c.Rich)
			}
			if r.TCPFlags&^(flow.SYN|flow.ACK|flow.FIN|flow.RST) != 0 || r.TCPFlags.Has(flow.ACK) && !r.TCPFlags.Has(flow.SYN) {
				t.Fatalf("%s: flags %d", r.Tuple(), r.TCPFlags)
			}
		}
	})
}

// Ports are those that the hosts' systems draw from.
func TestPorts(t *testing.T) {
	for _, test := range []struct {
		system System
		lo, hi uint16
	}{{Linux, 32768, 60999}, {Windows, 49152, 65535}, {MacOS, 49152, 65535}} {
		x := Run(Config{Seed: 5, Sessions: 400, Parallelism: 4, Systems: []System{test.system}, Decoys: 0.5})
		odd, backwards, previous := 0, 0, map[flow.Addr]uint16{}
		slices.SortFunc(x.Data, func(a, b DataConnection) int { return cmp.Compare(a.Start, b.Start) })
		for _, d := range x.Data {
			if d.SrcPort < test.lo || d.SrcPort > test.hi {
				t.Fatalf("system %d draws %d", test.system, d.SrcPort)
			}
			odd += int(d.SrcPort % 2)
			if d.SrcPort < previous[d.Src] {
				backwards++
			}
			previous[d.Src] = d.SrcPort
		}
		n := len(x.Data)
		switch {
		case test.system == Linux && odd > 0:
			t.Errorf("Linux: %d of %d ports are odd", odd, n)
		case test.system == Windows && backwards > n/50:
			t.Errorf("Windows: %d of %d ports go back", backwards, n)
		case test.system == MacOS && (odd < n/3 || backwards < n/3):
			t.Errorf("macOS: %d of %d ports are odd, %d go back", odd, n, backwards)
		}
	}
}

// overlap is how long a data connection can still be closing, in seconds,
// when the next one of its session opens, or the session is over.
const overlap = 0.5

// FTP carries one data connection at a time on a control connection, and
// within its life.
func TestSessions(t *testing.T) {
	each(t, 2, func(t *testing.T, x *Traffic) {
		busy := make([]float64, len(x.Sessions))
		count := make([]int, len(x.Sessions))
		slices.SortFunc(x.Data, func(a, b DataConnection) int { return cmp.Compare(a.Start, b.Start) })
		for _, d := range x.Data {
			s := &x.Sessions[d.Session]
			if d.Start < s.Start || d.End > s.End+overlap {
				t.Fatalf("data from %.3f to %.3f of a session from %.3f to %.3f", d.Start, d.End, s.Start, s.End)
			}
			if !d.Active && (d.Src != s.Src || d.Dst != s.Dst) || d.Active && d.Src != s.Dst {
				t.Fatalf("data %s of session %s", d.Ends, s.Ends)
			}
			if d.Outcome == OK && d.Start < busy[d.Session]-overlap {
				t.Fatalf("%s: two data connections at %.3f", s.Ends, d.Start)
			}
			busy[d.Session] = d.End
			count[d.Session]++
		}
		for i, s := range x.Sessions {
			if count[i] > s.Data || !s.Cut && count[i] != s.Data {
				t.Fatalf("%s: %d data connections, said to be %d", s.Ends, count[i], s.Data)
			}
		}
	})
}

// No two connections have the same NAT port at the same time at one address.
func TestMappings(t *testing.T) {
	each(t, 1, func(t *testing.T, x *Traffic) {
		type end struct {
			addr flow.Addr
			port uint16
		}
		used := map[end]float64{}
		slices.SortFunc(x.Mappings, func(a, b Mapping) int { return cmp.Compare(a.Start, b.Start) })
		for _, m := range x.Mappings {
			e := end{m.NATAddr, m.NATPort}
			if m.NATPort < 1024 || m.Start < used[e] {
				t.Fatalf("%s gets %s at %.3f, used until %.3f", m.Ends, flow.HostPort(m.NATAddr, m.NATPort), m.Start, used[e])
			}
			used[e] = m.End
		}
	})
}

// A log that was written reads as it was.
func TestWriteLog(t *testing.T) {
	each(t, 1, func(t *testing.T, x *Traffic) {
		var b bytes.Buffer
		if err := x.WriteLog(&b); err != nil {
			t.Fatal(err)
		}
		i := 0
		for got, err := range ingest.Text(&b, "log", ingest.Options{Want: flow.AllFields}) {
			if err != nil {
				t.Fatal(err)
			}
			want := x.Records[i]
			want.FlowLogID = "" // it is in the names of objects only
			if !reflect.DeepEqual(*got, want) {
				t.Fatalf("record %d: got\n%+v, want\n%+v", i, *got, want)
			}
			i++
		}
		if i != len(x.Records) {
			t.Errorf("%d of %d records", i, len(x.Records))
		}
	})
}

func BenchmarkRun(b *testing.B) {
	sessions := 0
	for b.Loop() {
		sessions += len(Run(Config{Rich: true, Duration: 6 * time.Hour, Sessions: 5000, Clients: 20, Servers: 10, Parallelism: 4, TLS: 0.3, Decoys: 0.5, Scans: 0.2}).Sessions)
	}
	b.ReportMetric(float64(sessions)/b.Elapsed().Seconds(), "sessions/s")
}
