package analyze

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// A talk makes the calls of one client with one server, with ports of their
// own.
type talk struct {
	client, server string
	next           int
	lines          []string
}

// call adds one connection: its payload is up and down, in so many packets
// each way.
func (k *talk) call(port, packetsUp, up, packetsDown, down int, from, to int) {
	k.callFrom(41000+k.next, port, packetsUp, up, packetsDown, down, from, to)
}

func (k *talk) callFrom(clientPort, port, packetsUp, up, packetsDown, down int, from, to int) {
	bytes := func(packets, payload int) int { return 52*packets + 8 + payload }
	k.lines = append(k.lines, fmt.Sprintf("%s:%d > 10.0.0.220:%d > %s:%d %dp/%db %dp/%db %d..%d", k.client, clientPort, 2000+k.next, k.server, port,
		packetsUp, bytes(packetsUp, up), packetsDown, bytes(packetsDown, down), from, to))
	k.next++
}

// dialogue is a connection of n commands and replies.
func (k *talk) dialogue(port, n, from, to int) {
	k.call(port, 6+2*n, 40+24*n, 6+2*n, 90+50*n, from, to)
}

// ftp makes sessions on a port, each with so many downloads to ports from
// first on, and one upload.
func (k *talk) ftp(port, sessions, downloads, first int) {
	for i := range sessions {
		at := 100 + 200*i
		k.dialogue(port, 4+3*downloads, at, at+100)
		for j := range downloads {
			k.call(first+(7*(i*downloads+j))%97, 6, 0, 10, 9000+100*j, at+5+8*j, at+8+8*j)
		}
		k.call(first+(31*i)%97, 10, 8000, 6, 0, at+90, at+93)
	}
}

// ftps is the same under TLS.
func (k *talk) ftps(port, sessions, downloads, first int) {
	for i := range sessions {
		at := 100 + 200*i
		k.call(port, 20+3*downloads, 1400+100*downloads, 18+3*downloads, 2500+200*downloads, at, at+100)
		for j := range downloads {
			k.call(first+(7*(i*downloads+j))%97, 13, 1200, 31, 30000, at+5+8*j, at+8+8*j)
		}
	}
}

// hinted are the findings that name a port, without their last words.
func hinted(r *Result) []string {
	var lines []string
	for _, f := range r.Findings {
		if port, _, ok := strings.Cut(f.Title, " looks like FTP"); ok {
			lines = append(lines, port)
		}
	}
	return lines
}

func TestScenarioHint(t *testing.T) {
	const client, server = "10.0.1.5", "203.0.113.10"
	for _, c := range []struct {
		name string
		make func(k *talk)
		o    Options
		want []string
	}{
		{name: "FTP on another port", make: func(k *talk) { k.ftp(2121, 3, 4, 50000) }, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "below 1024", make: func(k *talk) { k.ftp(921, 3, 4, 50000) }, want: []string{"Port 921 of 203.0.113.10"}},
		{name: "under TLS", make: func(k *talk) { k.ftps(2990, 3, 4, 50000) }, want: []string{"Port 2990 of 203.0.113.10"}},
		{name: "control under TLS, data in the clear", make: func(k *talk) {
			for i := range 3 {
				at := 100 + 200*i
				k.call(2990, 30, 1800, 28, 3300, at, at+100)
				for j := range 4 {
					k.call(50000+7*(4*i+j), 6, 0, 10, 9000, at+5+8*j, at+8+8*j)
				}
			}
		}, want: []string{"Port 2990 of 203.0.113.10"}},
		{name: "several at the same time", make: func(k *talk) {
			for i := range 4 {
				k.dialogue(2121, 20, 100+i, 180+i)
				for j := range 5 {
					k.call(50000+11*(5*i+j), 6, 0, 10, 9000, 105+i+12*j, 113+i+12*j)
				}
			}
		}, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "a web service is beside it", make: func(k *talk) {
			k.ftp(2121, 3, 4, 50000)
			for i := range 20 {
				k.call(8888, 8, 500, 8, 4000, 10+40*i, 30+40*i)
			}
		}, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "a log shipper is beside it", make: func(k *talk) {
			k.ftp(2121, 3, 4, 50000)
			for i := range 40 {
				k.call(24500, 10, 8000, 6, 0, 10+20*i, 12+20*i)
			}
		}, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "a socket that stays open is beside it", make: func(k *talk) {
			k.ftp(2121, 3, 4, 50000)
			k.dialogue(8888, 60, 50, 350)
			k.dialogue(8888, 60, 351, 800)
		}, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "the port was named", make: func(k *talk) { k.ftp(2121, 3, 4, 50000) }, o: Options{ControlPorts: []uint16{2121}}},
		{name: "another port was named", make: func(k *talk) { k.ftp(2121, 3, 4, 50000) }, o: Options{ControlPorts: []uint16{2990}}, want: []string{"Port 2121 of 203.0.113.10"}},
		{name: "not asked for", make: func(k *talk) { k.ftp(2121, 3, 4, 50000) }, o: Options{Servers: prefixes("203.0.113.11/32")}},
		{name: "sessions on 21 explain the transfers", make: func(k *talk) {
			k.ftp(21, 3, 4, 50000)
			k.dialogue(8888, 60, 50, 350)
			k.dialogue(8888, 60, 351, 800)
		}},
		{name: "one session only", make: func(k *talk) { k.ftp(2121, 1, 8, 50000) }},
		{name: "too few transfers", make: func(k *talk) { k.ftp(2121, 2, 1, 50000) }},
		{name: "no dialogue", make: func(k *talk) {
			for i := range 30 {
				k.call(50000+7*i, 6, 0, 10, 9000, 100+10*i, 103+10*i)
			}
		}},
		{name: "as many transfers outside", make: func(k *talk) {
			k.ftp(2121, 3, 4, 50000)
			for i := range 15 {
				k.call(52000+7*i, 6, 0, 10, 9000, 1000+10*i, 1003+10*i)
			}
		}},
		{name: "HTTP, keep-alive, six at a time", make: func(k *talk) {
			for i := range 30 {
				k.call(8888, 25, 1800, 25, 4000, 100+20*(i/6), 115+20*(i/6))
				k.call(8889, 8, 700, 30, 30000, 101+20*(i/6), 104+20*(i/6))
			}
		}},
		{name: "sockets that stay open, and pages", make: func(k *talk) {
			for i := range 5 {
				k.dialogue(8888, 60, 100+100*i, 199+100*i)
			}
			for i := range 40 {
				k.call(9443, 12, 1500, 30, 30000, 105+10*i, 107+10*i)
			}
		}},
		{name: "sockets that stay open, and a few fixed sinks", make: func(k *talk) {
			for i := range 5 {
				k.dialogue(8888, 60, 100+100*i, 199+100*i)
			}
			for i := range 80 {
				k.call(24500+i%8, 10, 8000, 6, 0, 105+6*i, 107+6*i)
			}
		}},
		{name: "an idle socket, and transfers that it does not command", make: func(k *talk) {
			for i := range 3 {
				k.call(8888, 40, 40, 40, 40, 100+100*i, 199+100*i)
			}
			for i := range 30 {
				k.call(50000+7*i, 6, 0, 10, 9000, 105+9*i, 108+9*i)
			}
		}},
		{name: "a pool of database connections", make: func(k *talk) {
			for i := range 10 {
				k.dialogue(15432, 200, 100+i, 900+i)
			}
			for i := range 30 {
				k.call(15433, 12, 300, 40, 30000, 110+20*i, 112+20*i)
			}
		}},
		{name: "SSH on another port, and forwarded ports", make: func(k *talk) {
			for i := range 3 {
				k.call(2222, 400, 14000, 380, 24000, 100+250*i, 340+250*i)
			}
			for i := range 60 {
				k.call(30000+i%8, 6, 400+i, 8, 6000+10*i, 105+10*i, 107+10*i)
			}
		}},
		{name: "SSH on another port with transfers by others", make: func(k *talk) {
			for i := range 3 {
				k.call(2222, 2000, 80000, 1900, 120000, 100+250*i, 340+250*i)
			}
			for i := range 15 {
				k.call(50000+7*i, 6, 0, 10, 9000, 105+40*i, 107+40*i)
			}
		}},
		{name: "many services under TLS, beside a channel that stays open", make: func(k *talk) {
			for i := range 6 {
				k.call(8888, 80, 4000, 80, 9000, 100+500*i, 590+500*i)
			}
			for i := range 200 {
				k.call(30000+37*i%59, 13, 1200+i, 20, 15000+i, 105+15*i, 108+15*i)
			}
		}},
		{name: "many services under TLS, without a channel", make: func(k *talk) {
			for i := range 200 {
				k.call(30000+37*i%59, 13, 1200+i, 20, 15000+i, 105+15*i, 108+15*i)
			}
		}},
		{name: "RPC by 135", make: func(k *talk) { rpc(k, 135) }},
		{name: "RPC by another port mapper", make: func(k *talk) { rpc(k, 4135) }},
		{name: "RPC with many services", make: func(k *talk) {
			for i := range 40 {
				k.call(4135, 7, 340, 7, 430, 100+20*i, 106+20*i)
				k.call(49664+i, 12, 1300+i, 11, 1900, 101+20*i, 105+20*i)
			}
		}},
		{name: "peers behind one address", make: func(k *talk) {
			for i := range 40 {
				k.call(51000+i, 60, 2500, 70, 40000, 100+5*i, 500+5*i)
			}
			for i := range 4 {
				k.call(51000, 40, 900, 40, 2200, 90+150*i, 230+150*i)
			}
		}},
		{name: "peers that send one way", make: func(k *talk) {
			for i := range 40 {
				k.call(51000+i, 6, 0, 100, 130000, 100+5*i, 300+5*i)
			}
			for i := range 4 {
				k.dialogue(52000, 60, 90+150*i, 230+150*i)
			}
		}},
		{name: "a service that was turned round", make: func(k *talk) {
			k.dialogue(8888, 60, 50, 350)
			k.dialogue(8888, 60, 351, 800)
			for i := range 30 {
				k.callFrom(9000, 50000+7*i, 6, 0, 10, 9000, 105+20*i, 107+20*i)
			}
		}},
		{name: "probes of many ports", make: func(k *talk) {
			k.dialogue(8888, 60, 50, 350)
			k.dialogue(8888, 60, 351, 800)
			for i := range 60 {
				k.call(50000+7*i, 4, 0, 3, 0, 105+10*i, 105+10*i)
			}
		}},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			t.Run(c.name, func(t *testing.T) {
				k := &talk{client: client, server: server}
				c.make(k)
				o := c.o
				o.Network = network(t)
				if got := hinted(analysed(t, calls(f, k.lines...), o)); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// rpc asks a port mapper for each of twelve services, and talks to them.
func rpc(k *talk, mapper int) {
	for i := range 36 {
		at := 100 + 20*i
		k.call(mapper, 7, 340, 7, 330, at, at+10)
		k.call(49664+i%12, 12, 1300+i, 11, 1900, at+1, at+9)
	}
}

// The words of a hint say what it stands on and what to do.
func TestScenarioHintWords(t *testing.T) {
	a, b := &talk{client: "10.0.1.5", server: "203.0.113.10"}, &talk{client: "10.0.1.6", server: "203.0.113.11", next: 500}
	a.ftp(2121, 3, 4, 50000)
	b.ftp(2121, 2, 4, 40000)
	c := &talk{client: "10.0.1.6", server: "203.0.113.12", next: 900}
	c.ftp(8021, 2, 4, 40000)
	r := analysed(t, calls(rich, slices.Concat(a.lines, b.lines, c.lines)...), Options{Network: network(t), ControlPorts: []uint16{2990}})
	var got []Finding
	for _, f := range r.Findings {
		if strings.Contains(f.Title, "looks like FTP") {
			got = append(got, f)
		}
	}
	detail := "Connections to it are small and last while the same client opens others to changing ports of the server, as a control connection does. None of them is among the sessions."
	advice := "If it is FTP, run again with --control-port 21,990,2121,2990,8021."
	want := []Finding{
		{Severity: Warn, Title: "Port 2121 of 2 servers looks like FTP, and was not analysed as such", Detail: detail, Advice: advice,
			Evidence: "25 transfers in 5 connections, to 23 different ports; 100 % of all such transfers between clients and server began inside one of them."},
		{Severity: Warn, Title: "Port 8021 of 203.0.113.12 looks like FTP, and was not analysed as such", Detail: detail, Advice: advice,
			Evidence: "10 transfers in 2 connections, to 9 different ports; 100 % of all such transfers between clients and server began inside one of them."},
	}
	if a, b := asJSON(t, got), asJSON(t, want); a != b {
		t.Errorf("got %s\nwant %s", a, b)
	}
	expect(t, r, "no session", "no data")
}

// A hint does not depend on the order of records, nor on whether connections
// are forgotten as they end.
func TestScenarioHintOrder(t *testing.T) {
	k := &talk{client: "10.0.1.5", server: "203.0.113.10"}
	k.ftp(2121, 20, 4, 50000)
	rs := calls(rich, k.lines...)
	o := Options{Network: network(t)}
	want := asJSON(t, analysed(t, rs, o).Findings)
	if !strings.Contains(want, "Port 2121") {
		t.Fatalf("got %s, want a hint", want)
	}
	slices.SortStableFunc(rs, func(a, b flow.Record) int { return int(a.End - b.End) })
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		for at := 0; at < len(rs); at += 40 { // a few minutes of records
			part := rs[at:min(at+40, len(rs))]
			r.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		}
		for _, o.Ordered = range []bool{true, false} {
			if got := asJSON(t, analysed(t, rs, o).Findings); got != want {
				t.Errorf("seed %d, ordered %v: got %s\nwant %s", seed, o.Ordered, got, want)
			}
		}
	}
}
