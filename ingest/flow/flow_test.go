package flow

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) Addr {
	a, err := ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

// tuple reads "tcp 10.0.1.5:40000 > 203.0.113.10:21".
func tuple(s string) Tuple {
	words := strings.Fields(s)
	src, dst := netip.MustParseAddrPort(words[1]), netip.MustParseAddrPort(words[3])
	proto := map[string]Proto{"tcp": TCP, "udp": UDP, "icmp": ICMP}[words[0]]
	return Tuple{AddrFrom(src.Addr()), AddrFrom(dst.Addr()), src.Port(), dst.Port(), proto}
}

func TestAddr(t *testing.T) {
	for _, test := range []struct {
		in, want string
		is4      bool
	}{
		{"10.0.1.5", "10.0.1.5", true},
		{"0.0.0.0", "0.0.0.0", true},
		{"255.255.255.255", "255.255.255.255", true},
		{"::ffff:10.0.1.5", "10.0.1.5", true},
		{"::1", "::1", false},
		{"2001:db8::1%eth0", "2001:db8::1", false},
		{"::", "-", false},
	} {
		a := addr(test.in)
		if a.String() != test.want || a.Is4() != test.is4 || a.IsValid() != (test.want != "-") {
			t.Errorf("%s: got %s, IPv4 %v, valid %v", test.in, a, a.Is4(), a.IsValid())
		}
	}
	if a := AddrFrom4(10<<24 | 5); a != addr("10.0.0.5") {
		t.Errorf("AddrFrom4: got %s", a)
	}
	if _, err := ParseAddr("10.0.0"); err == nil {
		t.Error("ParseAddr: half an address gives no error")
	}
}

func TestAddrPrefix(t *testing.T) {
	for _, test := range []struct {
		addr string
		bits int
		want string
	}{
		{"10.0.1.5", 24, "10.0.1.0/24"},
		{"10.0.1.5", 0, "0.0.0.0/0"},
		{"2001:db8::5", 32, "2001:db8::/32"},
		{"10.0.1.5", 33, "invalid Prefix"},
	} {
		if got := addr(test.addr).Prefix(test.bits).String(); got != test.want {
			t.Errorf("%s/%d: got %s, want %s", test.addr, test.bits, got, test.want)
		}
	}
}

// Order and packing agree with netip for addresses of one family.
func TestAddrAgainstNetip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() netip.Addr {
		var b [16]byte
		for i := range b {
			b[i] = byte(rnd.IntN(3))
		}
		return netip.AddrFrom16(b)
	}
	for range 10_000 {
		a, b := random(), random()
		if got := AddrFrom(a).Compare(AddrFrom(b)); got != a.Compare(b) {
			t.Fatalf("Compare(%s, %s): got %d", a, b, got)
		}
		if AddrFrom(a).Netip() != a {
			t.Fatalf("%s comes back as %s", a, AddrFrom(a).Netip())
		}
	}
}

func TestTuple(t *testing.T) {
	out := tuple("tcp 10.0.1.5:40000 > 203.0.113.10:21")
	back := tuple("tcp 203.0.113.10:21 > 10.0.1.5:40000")
	if out.Reverse() != back {
		t.Errorf("Reverse: got %s, want %s", out.Reverse(), back)
	}
	one, same := out.Canonical()
	two, reversed := back.Canonical()
	if one != two || same == reversed {
		t.Errorf("Canonical: got %s, %v and %s, %v", one, same, two, reversed)
	}
	loop := tuple("udp 10.0.0.1:53 > 10.0.0.1:53")
	if c, same := loop.Canonical(); c != loop || !same {
		t.Errorf("Canonical of %s: got %s, %v", loop, c, same)
	}
	ordered := []Tuple{
		tuple("udp 10.0.0.1:53 > 10.0.0.2:53"),
		tuple("tcp 10.0.0.1:53 > 10.0.0.3:53"),
		tuple("tcp 10.0.0.1:54 > 10.0.0.3:53"),
		tuple("tcp 10.0.0.1:54 > 10.0.0.3:54"),
		tuple("udp 10.0.0.1:54 > 10.0.0.3:54"),
		tuple("tcp [2001:db8::1]:1 > [2001:db8::2]:2"),
	}
	for i := range ordered[1:] {
		if a, b := ordered[i], ordered[i+1]; a.Compare(b) >= 0 || b.Compare(a) <= 0 {
			t.Errorf("%s does not come before %s", a, b)
		}
	}
}

func TestTupleString(t *testing.T) {
	for _, s := range []string{
		"tcp 10.0.1.5:40000 > 203.0.113.10:21",
		"udp [2001:db8::1]:53 > [2001:db8::2]:0",
	} {
		if got := tuple(s).String(); got != s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
	if got, want := (Tuple{Proto: 47}).String(), "47 -:0 > -:0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHeaderTuple(t *testing.T) {
	r := Record{Src: addr("10.0.1.5"), Dst: addr("10.0.0.220"), SrcPort: 40000, DstPort: 21, Proto: TCP}
	if r.HeaderTuple() != r.Tuple() {
		t.Errorf("without packet addresses: got %s", r.HeaderTuple())
	}
	r.PktDst = addr("203.0.113.10")
	if got, want := r.HeaderTuple(), tuple("tcp 10.0.1.5:40000 > 203.0.113.10:21"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestInterface(t *testing.T) {
	for _, test := range []struct {
		record Record
		want   string
	}{
		{Record{InterfaceID: "eni-1", ResourceID: "nat-1"}, "eni-1"},
		{Record{ResourceID: "nat-1"}, "nat-1"},
		{Record{}, ""},
	} {
		if got := test.record.Interface(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// The counts of fields up to each version are those of AWS's console.
func TestFields(t *testing.T) {
	upTo := make(map[uint8]int)
	for f := range numFields {
		if got, ok := FieldNamed(f.Name()); !ok || got != f || f.Name() == "" {
			t.Errorf("field %d, %q, is found as %d", f, f.Name(), got)
		}
		if got, ok := FieldNamed(strings.ReplaceAll(f.Name(), "-", "_")); !ok || got != f {
			t.Errorf("with underscores, %q is found as %d", f.Name(), got)
		}
		for v := f.Version(); v <= 11; v++ {
			upTo[v]++
		}
	}
	for version, want := range map[uint8]int{2: 14, 3: 21, 4: 25, 5: 29, 7: 39, 8: 40, 9: 41, 10: 42, 11: 54} {
		if upTo[version] != want {
			t.Errorf("up to version %d: got %d fields, want %d", version, upTo[version], want)
		}
	}
	if f, ok := FieldNamed("tgw-id"); ok {
		t.Errorf("tgw-id is found as %s", f.Name())
	}
}

func TestFieldSet(t *testing.T) {
	s := Fields(FieldVersion, FieldNextHopInterfaceType)
	if !s.Has(FieldVersion) || !s.Has(FieldNextHopInterfaceType) || s.Has(FieldEnd) {
		t.Errorf("got %b", s)
	}
	var all FieldSet
	for f := range numFields {
		all |= Fields(f)
	}
	if all != AllFields {
		t.Errorf("AllFields: got %b, want %b", AllFields, all)
	}
}

func TestEnums(t *testing.T) {
	got := strings.Join([]string{
		TCP.String(), UDP.String(), ICMP.String(), ICMPv6.String(), Proto(47).String(),
		NoAction.String(), Accept.String(), Reject.String(),
		OK.String(), NoData.String(), SkipData.String(),
		NoDirection.String(), Ingress.String(), Egress.String(), Ingress.Reverse().String(), NoDirection.Reverse().String(),
	}, " ")
	want := "tcp udp icmp icmpv6 47 - ACCEPT REJECT OK NODATA SKIPDATA - ingress egress egress -"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if TCP.HasPorts() != true || ICMP.HasPorts() != false {
		t.Error("ports: TCP has them, ICMP has not")
	}
}

// Flags of a whole connection inside one interval are OR-ed together.
func TestTCPFlags(t *testing.T) {
	const short = TCPFlags(19)
	if !short.Has(SYN) || !short.Has(SYN|ACK) || !short.Has(FIN) || short.Has(RST) || TCPFlags(0).Has(SYN) {
		t.Errorf("flags %d are read wrong", short)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New(`"70000" out of range`)
	for _, test := range []struct {
		err  error
		want string
	}{
		{&RecordError{Place: "s3://b/k.log.gz", Line: 812, Field: "dstport", Err: cause}, `s3://b/k.log.gz: line 812: dstport: "70000" out of range`},
		{&RecordError{Place: "k", Err: cause}, `k: "70000" out of range`},
		{&ObjectError{Place: "k", Err: cause}, `k: "70000" out of range`},
		{&ObjectError{Place: "k", Records: 3, Err: cause}, `k: "70000" out of range (3 records read before that)`},
	} {
		if test.err.Error() != test.want {
			t.Errorf("got %s, want %s", test.err, test.want)
		}
		if !errors.Is(test.err, cause) {
			t.Errorf("%s does not lead to its cause", test.err)
		}
	}
}
