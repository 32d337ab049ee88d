package cli

import (
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

func TestParseQuery(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"10.0.1.5,203.0.113.10:21", "tcp 10.0.1.5:0 > 203.0.113.10:21"},
		{"10.0.1.5:40000,203.0.113.10:21", "tcp 10.0.1.5:40000 > 203.0.113.10:21"},
		{"udp/10.0.1.5,10.0.0.2:53", "udp 10.0.1.5:0 > 10.0.0.2:53"},
		{"icmp/10.0.1.5,203.0.113.10", "icmp 10.0.1.5:0 > 203.0.113.10:0"},
		{"[2001:db8::1]:4000,[2001:db8::2]:21", "tcp [2001:db8::1]:4000 > [2001:db8::2]:21"},
		{"2001:db8::1,[2001:db8::2]:21", "tcp [2001:db8::1]:0 > [2001:db8::2]:21"},
	} {
		q, err := parseQuery(x.in)
		if err != nil || q.Flow.String() != x.want {
			t.Errorf("%s: got %s, %v; want %s", x.in, q.Flow, err, x.want)
		}
	}
	q, err := parseQuery("s-0123456789ab")
	if err != nil || q.ID != "s-0123456789ab" {
		t.Errorf("a session_id: got %+v, %v", q, err)
	}
}

// FuzzParseQuery: whatever is read means the same when it is written and
// read again.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"10.0.1.5,203.0.113.10:21", "udp/[2001:db8::1]:1,[::1]:53", "s-0123456789ab", "icmp/1.2.3.4,::1", ",", "tcp/", "1.2.3.4:0,1.2.3.4:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := parseQuery(s)
		if err != nil || q.ID != "" {
			return
		}
		again, err := parseQuery(written(q.Flow))
		if err != nil || again.Flow != q.Flow {
			t.Errorf("%q: %s was read as %s, %v", s, q.Flow, again.Flow, err)
		}
	})
}

// written writes FLOW.
func written(t flow.Tuple) string {
	end := func(a flow.Addr, port uint16) string {
		if port == 0 {
			return a.String()
		}
		return flow.HostPort(a, port)
	}
	return strings.Join([]string{t.Proto.String() + "/" + end(t.Src, t.SrcPort), end(t.Dst, t.DstPort)}, ",")
}
