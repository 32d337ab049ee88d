package picker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"ephemera/rules"
)

func sampleOf(ports ...uint16) *Sample {
	s := new(Sample)
	for i, p := range ports {
		s.Add(int64(i), p, uint64(i))
	}
	return s
}

func uniform(r *rand.Rand, n, low, high int) []uint16 {
	out := make([]uint16, n)
	for i := range out {
		out[i] = uint16(low + r.IntN(high-low+1))
	}
	return out
}

func portSet(t *testing.T, text string) rules.PortSet {
	t.Helper()
	s, err := rules.ParsePorts(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInfer(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, test := range []struct {
		name           string
		by             Chooser
		configured     string
		ports          []uint16
		observed, safe string
		fit, keep      string
	}{
		{"nothing", Server, "", nil, "", "", "", "no connection was seen"},
		{"nothing, configured", Server, "50000-50099", nil, "", "50000-50099", "configured", "no connection was seen"},
		{"nothing at a NAT gateway", NATGateway, "", nil, "", "1024-65535", "NAT gateway", "no connection was seen"},
		{"fixed", Fixed, "", []uint16{21, 990, 21, 21}, "21;990", "21;990", "", "the port is fixed"},
		{"NAT gateway", NATGateway, "", []uint16{2000, 3000}, "2000;3000", "1024-65535", "NAT gateway", "whatever was observed"},
		{"configured", Server, "50000-50099", []uint16{50005}, "50005", "50000-50099", "configured", ""},
		{"configured, and outside", Server, "50000-50099", []uint16{50005, 40000}, "40000;50005", "40000;50000-50099", "configured", ""},
		{"one client", ClientOS, "", []uint16{40000}, "40000", "32768-65535", "Linux", ""},
		{"no system", ClientOS, "", []uint16{1500}, "1500", "1024-65535", "any port", "fit no operating system's range"},
		{"one passive port", Server, "", []uint16{34567}, "34567", "1024-65535", "a configured range near ", "too few connections (1) to tell"},
		{"below 1024", ClientOS, "", []uint16{123, 123}, "123", "123", "", "no port above 1023 was seen"},
		{"some below 1024", ClientOS, "", []uint16{123, 40000, 50000}, "123;40000;50000", "123;32768-65535", "Linux", ""},
		{"any port", Server, "", uniform(r, 400, 1024, 65535), "", "1024-65535", "vsftpd", "fit no narrower range"},
	} {
		e := Infer(sampleOf(test.ports...), test.by, Options{Entries: 5, Configured: portSet(t, test.configured)})
		if got := e.Observed.Ports.String(); got != test.observed && len(test.ports) < 5 {
			t.Errorf("%s: observed is %s, want %s", test.name, got, test.observed)
		}
		if got := e.Safe.Ports.String(); got != test.safe {
			t.Errorf("%s: safe is %s, want %s", test.name, got, test.safe)
		}
		fit := ""
		if len(e.Fits) > 0 {
			fit = e.Fits[0].Name
		}
		if !strings.HasPrefix(fit, test.fit) || test.fit == "" && fit != "" {
			t.Errorf("%s: %q fits, want %q", test.name, fit, test.fit)
		}
		if !strings.HasSuffix(e.Keep, test.keep) || test.keep == "" && e.Keep != "" {
			t.Errorf("%s: keep is %q, want %q", test.name, e.Keep, test.keep)
		}
	}
}

// The back-test of a counter that goes on loses everything, that of a range
// that was seen whole nothing.
func TestBacktest(t *testing.T) {
	var sequence, round []uint16
	for i := range uint16(100) {
		sequence, round = append(sequence, 40000+i), append(round, 40000+i%10)
	}
	for _, test := range []struct {
		ports        []uint16
		lost, tested int
	}{
		{sequence, 50, 50},
		{round, 0, 50},
		{[]uint16{5000, 5001, 5000}, 1, 2},
		{[]uint16{5000, 5001}, 1, 1},
		{[]uint16{5000}, 0, 0},
	} {
		p := Infer(sampleOf(test.ports...), Server, Options{Entries: 4}).Observed
		first := test.ports[:min(len(test.ports), 3)]
		if p.Lost != test.lost || p.Tested != test.tested {
			t.Errorf("ports %d...: %d of %d are lost, want %d of %d", first, p.Lost, p.Tested, test.lost, test.tested)
		}
		if test.tested < 2 && p.Outside != 1 {
			t.Errorf("ports %d...: outside is %v with %d tested, want 1", first, p.Outside, p.Tested)
		}
	}
}

// checkEstimate checks what holds of every estimate.
func checkEstimate(t *testing.T, s *Sample, e Estimate) {
	t.Helper()
	sum := 0.0
	for i, f := range e.Fits {
		sum += f.Probability
		if !(0 <= f.Probability && f.Probability <= 1+1e-9) || i > 0 && f.Probability > e.Fits[i-1].Probability {
			t.Errorf("fits are %v", e.Fits)
		}
	}
	if !(sum <= 1+1e-9) {
		t.Errorf("fits add up to %v", sum)
	}
	for _, p := range []Proposal{e.Observed, e.Safe} {
		if missing := s.Used().Subtract(p.Ports); !missing.IsEmpty() {
			t.Errorf("%s lacks the used ports %s", p.Ports, missing)
		}
		share := math.NaN()
		if p.Tested > 0 {
			share = float64(p.Lost) / float64(p.Tested)
		}
		if !(0 < p.Outside && p.Outside <= 1) || p.Outside < share || p.Low > share+1e-9 || share > p.High+1e-9 || !(0 <= p.Low && p.Low <= p.High && p.High <= 1) {
			t.Errorf("%+v", p)
		}
	}
}

func FuzzInfer(f *testing.F) {
	f.Add(uint8(1), "", []byte{1, 0xc3, 0x50, 2, 0xc3, 0x51, 2, 0xc3, 0x52})
	f.Add(uint8(2), "", []byte{1, 0, 21, 2, 0xff, 0xff, 0, 4, 0})
	f.Add(uint8(3), "1-5", []byte{})
	f.Add(uint8(1), "50000-50099", []byte{0, 0xc3, 0x50})
	f.Fuzz(func(t *testing.T, by uint8, configured string, data []byte) {
		o := Options{Entries: len(data) % 7}
		if ports, err := rules.ParsePorts(configured); err == nil {
			o.Configured = ports
		}
		var s Sample
		now := int64(0)
		for ; len(data) >= 3; data = data[3:] {
			now += int64(data[0])
			s.Add(now, uint16(data[1])<<8|uint16(data[2]), uint64(s.Count()))
		}
		checkEstimate(t, &s, Infer(&s, Chooser(by), o))
	})
}

// Estimates of all pickers at all sizes are sound, and the same again.
func TestEstimatesAreSound(t *testing.T) {
	for i, c := range scenarios() {
		r := rand.New(rand.NewPCG(15, uint64(i)))
		next := c.start(r)
		var s Sample
		for n := range 1500 {
			s.Add(int64(n), next(), r.Uint64())
			if n < 12 || n%500 == 7 {
				for by := Fixed; by <= NATGateway; by++ {
					e := Infer(&s, by, Options{Entries: 3})
					checkEstimate(t, &s, e)
					if again := Infer(&s, by, Options{Entries: 3}); fmt.Sprint(again) != fmt.Sprint(e) {
						t.Errorf("%s: %v, and again %v", c.name, e, again)
					}
				}
			}
		}
	}
}

func BenchmarkInfer(b *testing.B) {
	for _, by := range []Chooser{Server, ClientOS} {
		for _, n := range []int{2, 20, 200, 1024} {
			b.Run(fmt.Sprintf("%v/%d", by, n), func(b *testing.B) {
				s := sampleOf(uniform(rand.New(rand.NewPCG(1, 2)), n, 50000, 50199)...)
				for b.Loop() {
					Infer(s, by, Options{Entries: 4})
				}
			})
		}
	}
}

func TestInferTellsRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		by        Chooser
		n         int
		low, high int
		safe      string
	}{
		{Server, 20, 50000, 50099, "50000-50100"},
		{Server, 2000, 50000, 50099, "50000-50099"},
		{Server, 200, 40000, 40199, "40000-40200"},
		{Server, 20, 32768, 60999, "32768-60999"},
		{Server, 20, 49152, 65535, "49152-65535"},
		{Server, 20, 1024, 65535, "1024-65535"},
		{Server, 2, 8192, 8200, "8192-8200"},
		{ClientOS, 1, 32768, 60999, "32768-65535"},
		{ClientOS, 50, 32768, 60999, "32768-60999"},
		{ClientOS, 50, 49152, 65535, "49152-65535"},
		{ClientOS, 20, 1024, 65535, "1024-65535"},
		{NATGateway, 20, 30000, 30010, "1024-65535"},
	} {
		e := Infer(sampleOf(uniform(r, test.n, test.low, test.high)...), test.by, Options{Entries: 4})
		if got := e.Safe.Ports.String(); got != test.safe {
			t.Errorf("%d connections within %d-%d: safe is %s, want %s", test.n, test.low, test.high, got, test.safe)
		}
	}
}
