package cli

import (
	"runtime/debug"
	"testing"
)

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 800}, {1 << 20, 800}, {12 << 20, 800}, {24 << 20, 400}, {96 << 20, 100}, {192 << 20, 50}, {4 << 30, 50},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d bytes in use: got %d %%, want %d", c.live, got, c.want)
		}
	}
}

// The user's word counts, and the setting is as before afterwards.
func TestPaceGarbage(t *testing.T) {
	current := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	before := current()
	t.Setenv("GOMEMLIMIT", "")
	for _, set := range []string{"", "70"} {
		t.Setenv("GOGC", set)
		stop := paceGarbage()
		if during := current(); (during == before) != (set != "") {
			t.Errorf("GOGC=%q: got %d %% meanwhile, before %d", set, during, before)
		}
		stop()
		if after := current(); after != before {
			t.Errorf("GOGC=%q: got %d %% afterwards, want %d", set, after, before)
		}
	}
}
