package cli

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ s, want string }{
		{"", "0001-01-01T00:00:00Z"},
		{"2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"},
		{"2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00Z"},
		{"2026-11-20", "2026-11-20T00:00:00Z"},
		{"-24h", "2026-11-21T12:00:00Z"},
		{"-90m", "2026-11-22T10:30:00Z"},
		{"-7d", "2026-11-15T12:00:00Z"},
		{"yesterday", ""}, {"7d", ""}, {"-d", ""}, {"2026-11", ""}, {"-1w", ""},
	} {
		got, err := parseTime("--from", c.s, now)
		if (err == nil) != (c.want != "") || err == nil && got.UTC().Format(time.RFC3339) != c.want {
			t.Errorf("%q: got %v, %v; want %s", c.s, got, err, c.want)
		}
	}
}
