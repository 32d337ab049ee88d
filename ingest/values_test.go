package ingest

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"ephemera/ingest/flow"
)

// checkAddress compares address with netip.
func checkAddress(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	ok := err == nil && want.Zone() == ""
	got, err := address([]byte(s))
	if (err == nil) != ok {
		t.Errorf("address(%q): got error %v, want an address: %v", s, err, ok)
	} else if ok && got != flow.AddrFrom(want) {
		t.Errorf("address(%q): got %v, want %v", s, got, want)
	}
}

var addresses = []string{
	"10.0.1.5", "0.0.0.0", "255.255.255.255", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "256.1.1.1", "01.2.3.4", "00.0.0.0", "",
	"::", ":", ":::", "::1", "1::", "1::2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
	"1:2:3:4:5:6:7:8::", "1::2::3", "1:", ":1", "1:2:3:4:5:6:7:", "12345::", "g::", "FE80::A", "2001:db8::1%eth0",
	"::ffff:10.0.1.5", "::10.0.1.5", "1:2:3:4:5:6:10.0.1.5", "1:2:3:4:5:6:7:10.0.1.5", "1:2:3:4:5:10.0.1.5", "::10.0.1.5:1", "::10.0.1", "1::2:10.0.1.5",
}

func TestAddress(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, s := range addresses {
		checkAddress(t, s)
	}
	for range 20_000 {
		s := randomAddr(rnd)
		checkAddress(t, s)
		i := rnd.IntN(len(s))
		checkAddress(t, s[:i]+string("0f:.x"[rnd.IntN(5)])+s[i:])
		checkAddress(t, s[:i]+s[i+1:])
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range addresses {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkAddress(t, s) })
}
