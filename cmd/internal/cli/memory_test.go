package cli

import "testing"

func TestParseMemory(t *testing.T) {
	for _, c := range []struct {
		text string
		want memory
		ok   bool
	}{
		{"1GiB", 1 << 30, true},
		{"512MiB", 512 << 20, true},
		{"200 MB", 200_000_000, true},
		{"134217728", 128 << 20, true},
		{"127MiB", 0, false},
		{"16EB", 0, false},
		{"much", 0, false},
		{"-1GiB", 0, false},
		{"", 0, false},
	} {
		if got, err := parseMemory(c.text); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: got %d, %v; want %d", c.text, got, err, c.want)
		}
	}
}

// The shares are parts of the whole, and there is always some.
func TestMemoryShares(t *testing.T) {
	for m := memory(leastMemory); m < 1<<40; m *= 3 {
		if all := m.tables() + m.readAhead() + int64(m.objects())<<20; all > int64(m)*4/5 {
			t.Errorf("of %d bytes, %d are handed out", m, all)
		}
		if m.tables() < 16<<20 || m.readAhead() < 8<<20 || m.objects() < 3 {
			t.Errorf("of %d bytes: %d for tables, %d read ahead, %d objects", m, m.tables(), m.readAhead(), m.objects())
		}
	}
}
