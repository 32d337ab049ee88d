package analyze

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// download is a data connection of 10,000 bytes through the NAT gateway.
func download(clientPort, natPort, serverPort int, span string) string {
	return fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:%d 6p/320b 10p/10528b %s", clientPort, natPort, serverPort, span)
}

func TestScenarioActiveMode(t *testing.T) {
	play(t, []scenario{
		{
			name:  "behind the NAT gateway it ends there",
			calls: []string{controlOK, "203.0.113.10:20 > 10.0.0.220:45678 3p/180b 0p/0b 110..117"},
			more:  []string{"eni-nat ingress 203.0.113.10:20 > 10.0.0.220:45678 3p/180b 110..117 ACCEPT"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 active 1 blocked at P4",
				"data 10.0.0.220:45678 > 203.0.113.10:20 active of 40000 blocked at P4",
				"no reject",
			},
		},
		{
			name: "without a NAT gateway it works",
			net:  []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client", "sg-client in tcp 1024-65535 203.0.113.0/24"},
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
				"203.0.113.10:20 > 10.0.0.7:40001 10p/10528b 6p/320b 105..108",
			},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:21 active 1 ok",
				"data 10.0.0.7:40001 > 203.0.113.10:20 active of 40000 ok", "no reject",
			},
		},
		{
			name: "without a NAT gateway, blocked by the security group",
			net:  []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client"},
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
				"203.0.113.10:20 > 10.0.0.7:40001 3p/180b 0p/0b 105..108 dies S1",
			},
			want: []string{"reject P6 sg sg-client 3p"},
		},
		{
			name: "active and passive in one session",
			net:  []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client", "sg-client in tcp 1024-65535 203.0.113.0/24"},
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:21 20p/1180b 18p/1800b 100..130",
				"203.0.113.10:20 > 10.0.0.7:40001 10p/10528b 6p/320b 105..108",
				"10.0.0.7:40002 > 203.0.113.10:50010 6p/320b 10p/10528b 115..118",
			},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:21 mixed 2 ok",
				"data 10.0.0.7:40001 > 203.0.113.10:20 active of 40000 ok",
				"data 10.0.0.7:40002 > 203.0.113.10:50010 passive of 40000 ok",
			},
		},
	})
}

// The NAT gateway's ports are the gateway's choice: neither an active
// attempt nor a scanner widens or narrows what is needed there (pitfalls 22
// and 33).
func TestScenarioUnsolicitedIsNoDemand(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		unsolicited := records(
			in(f, "eni-nat ingress 203.0.113.10:20 > 10.0.0.220:1111 3p/180b 110..117 ACCEPT SYN"),
			in(f, "eni-nat ingress 198.51.100.9:55555 > 10.0.0.220:3389 1p/44b 111..111 ACCEPT SYN"),
			in(f, "eni-nat ingress 198.51.100.9:55556 > 10.0.0.220:21 1p/44b 112..112 ACCEPT SYN"),
			in(f, "eni-nat ingress 198.51.100.9:55557 > 10.0.0.220:64000 1p/44b 113..113 REJECT SYN"))
		calm := calls(f, passiveSession...)
		o := Options{Network: network(t, "acl-public in 90 deny tcp 64000 0.0.0.0/0")}
		want, got := analysed(t, calm, o), analysed(t, slices.Concat(calm, unsolicited), o)
		if a, b := asJSON(t, got.Ports), asJSON(t, want.Ports); a != b {
			t.Errorf("port demand with a scanner:\n got %s\nwant %s", a, b)
		}
		for i, u := range got.Rules {
			if a, b := asJSON(t, u), asJSON(t, want.Rules[i]); a != b {
				t.Errorf("rules with a scanner:\n got %s\nwant %s", a, b)
			}
		}
		expect(t, got, "reject P4 nacl acl-public 90 1p", "map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417")
		if got.Sessions.Len() != 1 {
			t.Errorf("sessions: got %d, want 1: the scanner's is none", got.Sessions.Len())
		}
		for d := range got.Data.All() {
			if strings.HasPrefix(d.ServerAddr.String(), "198.51.100.") {
				t.Errorf("got the scanner's packets as data connection %+v, want none", d)
			}
		}
	})
}

func TestScenarioNATPortsAreKept(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		var lines []string
		for i := range 40 {
			at := 100 + 20*i
			lines = append(lines,
				fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 14p/%db 12p/1200b %d..%d", 40000+4*i, 20000+4*i, 820+i, at, at+12),
				download(40002+4*i, 20002+4*i, 50000+i, fmt.Sprintf("%d..%d", at+5, at+8)))
		}
		r := analysed(t, calls(f, lines...), Options{Network: network(t)})
		found := false
		for _, u := range r.Rules {
			if u.Point != P4 {
				continue
			}
			found = true
			if u.Verdict != "keep" || !slices.Equal(u.Proposal, []string{"1024-65535"}) || !strings.Contains(u.Why, "1024-65535") {
				t.Errorf("rule at P4: got %s %v because %q, want keep 1024-65535 and why", u.Verdict, u.Proposal, u.Why)
			}
		}
		for _, p := range r.Ports {
			if p.PortChosenBy != "nat-gateway" {
				continue
			}
			if p.KeepReason == "" || !slices.Equal(p.Safe, []string{"1024-65535"}) {
				t.Errorf("%s: got safe %v, keep reason %q, want 1024-65535 and the reason", p.Slot, p.Safe, p.KeepReason)
			}
		}
		if !found {
			t.Error("got no rule at P4, want one")
		}
	})
}

func TestScenarioNotFTP(t *testing.T) {
	web := func(clientPort, natPort, at int) string {
		return fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:8081 6p/810b 8p/6400b %d..%d", clientPort, natPort, at, at+1)
	}
	play(t, []scenario{
		{
			name:  "a connection before and one after the control connection",
			calls: []string{controlOK, download(41000, 21000, 50001, "60..63"), download(41002, 21002, 50002, "200..203")},
			want:  []string{"no data", "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-data"},
		},
		{
			name: "a web service on a high port of the server",
			calls: []string{controlOK, download(40001, 31417, 50010, "105..108"), download(40003, 31419, 50012, "120..123"),
				web(41000, 21000, 20), web(41002, 21002, 50), web(41004, 21004, 111), web(41006, 21006, 300), web(41008, 21008, 400)},
			want: []string{
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
				"data 10.0.1.5:40003 > 203.0.113.10:50012 nat 10.0.0.220:31419 passive of 40000 ok",
			},
		},
		{
			name:  "a connection to another server during the session",
			calls: []string{controlOK, "10.0.1.5:41000 > 10.0.0.220:21000 > 203.0.113.11:50001 6p/320b 10p/10528b 105..108"},
			want:  []string{"no data"},
		},
		{
			name:  "another client's connection to the server",
			calls: []string{controlOK, "10.0.1.6:41000 > 10.0.0.220:21000 > 203.0.113.10:50001 6p/320b 10p/10528b 105..108"},
			want:  []string{"no data"},
		},
		{
			name:  "a control connection that never logged in carries none",
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 4p/220b 4p/300b 100..130", download(41000, 21000, 50001, "105..108")},
			want:  []string{"no data"},
		},
		{
			name: "UDP and ICMP beside it",
			calls: []string{controlOK, download(40001, 31417, 50010, "105..108"),
				"10.0.1.5:40001 > 10.0.0.220:22222 > 203.0.113.10:50010 4p/400b 4p/400b 105..108 udp",
				"10.0.1.5:51000 > 10.0.0.220:22223 > 203.0.113.53:53 1p/70b 1p/200b 104..104 udp",
				"10.0.1.5:0 > 10.0.0.220:0 > 203.0.113.10:0 5p/420b 5p/420b 100..105 icmp",
				"10.0.1.5:123 > 10.0.0.220:22224 > 203.0.113.123:123 1p/76b 1p/76b 90..90 udp",
				"10.0.1.5:40000 > 10.0.0.220:21 > 203.0.113.10:21 1p/60b 1p/60b 105..105 udp"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok", "no reject",
			},
		},
	})
}

func TestScenarioConcurrentSessions(t *testing.T) {
	play(t, []scenario{
		{
			name: "two sessions at the same time: the candidates are named",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
				"10.0.1.5:40002 > 10.0.0.220:20002 > 203.0.113.10:21 14p/824b 12p/1210b 100..130",
				download(40001, 31417, 50010, "105..108"),
			},
			want: []string{"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of ? 40000 40002 ok"},
		},
		{
			name: "to different servers there is nothing to choose",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
				"10.0.1.5:40002 > 10.0.0.220:20002 > 203.0.113.11:21 14p/824b 12p/1210b 100..130",
				download(40001, 31417, 50010, "105..108"),
				"10.0.1.5:40003 > 10.0.0.220:31419 > 203.0.113.11:50010 6p/320b 9p/9000b 105..108",
			},
			want: []string{
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
				"data 10.0.1.5:40003 > 203.0.113.11:50010 nat 10.0.0.220:31419 passive of 40002 ok",
			},
		},
		{
			name: "one after the other there is nothing to choose",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40002 > 10.0.0.220:20002 > 203.0.113.10:21 14p/824b 12p/1210b 120..132",
				download(40001, 31417, 50010, "105..108"), download(40003, 31419, 50020, "125..128"),
			},
			want: []string{
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
				"data 10.0.1.5:40003 > 203.0.113.10:50020 nat 10.0.0.220:31419 passive of 40002 ok",
			},
		},
	})
}

// Pitfall 24: hundreds of near-identical control connections in a minute.
func TestScenarioBruteForceBurst(t *testing.T) {
	const n = 300
	var lines []string
	truth := map[uint16]uint16{}
	for i := range n {
		client, nat := 33000+2*i, 1024+(i*7919)%60000
		truth[uint16(client)] = uint16(nat)
		at := 100 + i/5
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 %dp/%db 7p/%db %d..%d",
			client, nat, 8+i%2, 460+52*(i%2)+i%4, 520+i%3, at, at+2+i%3))
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := calls(f, lines...)
		began := time.Now()
		r := analysed(t, rs, Options{Network: network(t)})
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("got %v for %d connections, want less than 3 s", d, n)
		}
		if r.Sessions.Len() != n || r.Mappings.Len() != n {
			t.Errorf("got %d sessions and %d mappings, want %d of each", r.Sessions.Len(), r.Mappings.Len(), n)
		}
		sure, wrong := 0, 0
		for m := range r.Mappings.All() {
			if m.Confidence < 0.9 {
				continue
			}
			sure++
			if truth[m.ClientPort] != m.NATPort {
				wrong++
			}
		}
		if wrong > 0 {
			t.Errorf("got %d of %d sure mappings wrong, want none", wrong, sure)
		}
	})
}

// Identical connections cannot be told apart, and the confidence says so.
func TestScenarioIdenticalConnectionsAreUnsure(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f,
			"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
			"10.0.1.5:40002 > 10.0.0.220:20002 > 203.0.113.10:21 14p/820b 12p/1200b 100..130"), Options{Network: network(t)})
		if r.Mappings.Len() != 2 {
			t.Fatalf("got %d mappings, want 2", r.Mappings.Len())
		}
		for m := range r.Mappings.All() {
			if m.Confidence > 0.55 || len(m.Candidates) != 1 {
				t.Errorf("%d: got confidence %v and candidates %v, want a half and the other one", m.ClientPort, m.Confidence, m.Candidates)
			}
		}
	})
}

// Pitfall 23: the gateway forgets a silent control connection.
func TestScenarioIdleTimeout(t *testing.T) {
	play(t, []scenario{
		{
			name: "a long download, then the client speaks again",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..110 open",
				"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 600p/31208b 9000p/12600000b 108..700",
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 1p/58b 1p/40b 701..701 begun rst without P3,P4",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 idle-timeout at P2",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:20002 passive of 40000 ok",
			},
		},
		{
			name: "just longer than the gateway remembers",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..110 open",
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 1p/58b 1p/40b 470..470 begun rst without P3,P4",
			},
			want: []string{"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 idle-timeout at P2"},
		},
		{
			name:  "silent for less than that",
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 16p/930b 14p/1380b 100..110,440..441"},
			want:  []string{"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-data"},
		},
		{
			name:  "without a NAT gateway nothing forgets",
			net:   []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client"},
			calls: []string{"10.0.0.7:40000 > 203.0.113.10:21 16p/930b 14p/1380b 100..110,490..491"},
			want:  []string{"session 10.0.0.7:40000 > 203.0.113.10:21 none 0 no-data"},
		},
	})
}

// 400 s of silence end a connection; what follows with a SYN is another.
func TestScenarioReuseAfterSilence(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f,
			"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112 open",
			"10.0.1.5:40000 > 10.0.0.220:20009 > 203.0.113.10:21 15p/880b 13p/1300b 620..632"), Options{Network: network(t)})
		expect(t, r, "map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40000 = 10.0.0.220:20009")
		if r.Sessions.Len() != 2 {
			t.Errorf("got %d sessions, want 2", r.Sessions.Len())
		}
	})
}

// Pitfall 17: flags are ORed over the window. A SYN comes after FIN in the
// next window's connection only.
func TestScenarioFlagsAreORed(t *testing.T) {
	r := analysed(t, records(
		"eni-10.0.1.5 egress 10.0.1.5:40000 > 203.0.113.10:21 14p/820b 100..112 ACCEPT SYN,FIN pkt 10.0.1.5 > 203.0.113.10",
		"eni-10.0.1.5 ingress 203.0.113.10:21 > 10.0.1.5:40000 12p/1200b 100..112 ACCEPT SYN,ACK,FIN pkt 203.0.113.10 > 10.0.1.5",
		"eni-10.0.1.5 egress 10.0.1.5:40001 > 203.0.113.10:50010 6p/320b 105..108 ACCEPT SYN,FIN pkt 10.0.1.5 > 203.0.113.10",
		"eni-10.0.1.5 ingress 203.0.113.10:50010 > 10.0.1.5:40001 10p/10528b 105..108 ACCEPT SYN,ACK,FIN pkt 203.0.113.10 > 10.0.1.5",
		// Two connections of one five-tuple in one window leave one record with both SYN and RST.
		"eni-10.0.1.5 egress 10.0.1.5:40005 > 203.0.113.10:50015 8p/420b 109..111 ACCEPT SYN,FIN,RST pkt 10.0.1.5 > 203.0.113.10",
		"eni-10.0.1.5 ingress 203.0.113.10:50015 > 10.0.1.5:40005 10p/10528b 109..111 ACCEPT SYN,ACK,FIN,RST pkt 203.0.113.10 > 10.0.1.5",
	), Options{Network: network(t)})
	expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:21 passive 2 ok",
		"data 10.0.1.5:40001 > 203.0.113.10:50010 passive of 40000 ok", "data 10.0.1.5:40005 > 203.0.113.10:50015 passive of 40000 ok")
}

// FTP carries one data connection at a time per control connection: of two
// that overlap only one is the session's; of one that was stopped, whose SYNs
// are still repeated, and another that got through, the other.
func TestScenarioOneDataConnectionAtATime(t *testing.T) {
	control := "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..160"
	second := "10.0.1.5:40002 > 10.0.0.220:20003 > 203.0.113.10:50012 6p/320b 10p/10528b 115..130"
	for _, x := range []struct {
		name, first string
		want        int
	}{
		{"one after the other", "10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..114", 2},
		{"overlapping", "10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..120", 1},
		{"behind a stopped one", "10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 4p/240b 0p/0b 105..125 lost P4", 1},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			t.Run(x.name, func(t *testing.T) {
				r := analysed(t, calls(f, control, x.first, second), Options{Network: network(t)})
				claimed := 0
				for d := range r.Data.All() {
					if d.SessionID != "" {
						claimed++
					} else if d.Outcome == OutcomeOK && x.name == "behind a stopped one" {
						t.Errorf("the one that got through is nobody's")
					}
				}
				if claimed != x.want {
					t.Errorf("%d of %d data connections are the session's, want %d", claimed, r.Data.Len(), x.want)
				}
			})
		})
	}
}

func TestScenarioCutOffByTheLog(t *testing.T) {
	for _, x := range []struct{ name, call, want string }{
		{"begun before the log", "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 5..50 begun", "incomplete"},
		{"open when it ended", "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..995 open", "incomplete"},
		{"closed when it ended", "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..999", "no-data"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := analysed(t, calls(rich, x.call, "10.0.1.6:40000 > 10.0.0.220:20007 > 203.0.113.80:443 40p/2820b 42p/8200b 1..1000"), Options{Network: network(t)})
			expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 "+x.want)
		})
	}
}

func TestScenarioClientAndServerFilters(t *testing.T) {
	const one = "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok"
	const two = "session 10.0.1.6:40000 > 203.0.113.11:21 nat 10.0.0.220:20003 passive 1 ok"
	lines := append(slices.Clone(passiveSession),
		"10.0.1.6:40000 > 10.0.0.220:20003 > 203.0.113.11:21 15p/880b 13p/1300b 100..112",
		"10.0.1.6:40001 > 10.0.0.220:20004 > 203.0.113.11:50012 7p/372b 12p/12528b 105..108")
	for _, x := range []struct {
		client, server string
		want           []string
	}{
		{"", "", []string{one, two}},
		{"10.0.1.5/32", "", []string{one}},
		{"10.0.1.0/24", "", []string{one, two}},
		{"", "203.0.113.11/32", []string{two}},
		{"10.0.1.5/32", "203.0.113.11/32", []string{"no session"}},
		{"192.0.2.0/24", "", []string{"no session"}},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			o := Options{Network: network(t), Clients: prefixes(x.client), Servers: prefixes(x.server)}
			r := analysed(t, calls(f, lines...), o)
			expect(t, r, x.want...)
			if r.Sessions.Len() != r.Data.Len() {
				t.Errorf("client %q, server %q: got %d sessions and %d data connections, want as many", x.client, x.server, r.Sessions.Len(), r.Data.Len())
			}
		})
	}
}

func TestScenarioControlPort(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:2121 14p/820b 12p/1200b 100..112", passiveSession[1]),
			Options{Network: network(t), ControlPorts: []uint16{2121}})
		expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:2121 nat 10.0.0.220:20001 passive 1 ok",
			"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok")
	})
}

// What the server sends to a port that the gateway has given free is no
// attempt at active mode.
func TestScenarioStragglerIsNotActiveMode(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := slices.Concat(
			calls(f, "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 44p/2560b 40p/4000b 100..110,300..310,500..510,700..710", download(40001, 31417, 50010, "105..108")),
			records(in(f, "eni-nat ingress 203.0.113.10:50010 > 10.0.0.220:31417 2p/80b 605..606 ACCEPT 0")))
		r := analysed(t, rs, Options{Network: network(t)})
		expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
			"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok")
	})
}

// Hundreds of transfers that die the same way look the same.
func TestScenarioBurstOfBlockedTransfers(t *testing.T) {
	lines := []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 900p/52000b 800p/80000b 100..400"}
	truth := map[uint16]uint16{}
	for i := range 100 {
		at := 105 + 2*i
		truth[uint16(41000+i)] = uint16(31000 + (i*37)%900)
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:%d 3p/180b 3p/180b %d..%d dies P4", 41000+i, 31000+(i*37)%900, 50000+i%3, at, at+7))
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, lines...), Options{Network: network(t, "acl-public in 90 deny tcp 31000-31999 0.0.0.0/0")})
		blocked := 0
		for d := range r.Data.All() {
			if d.Outcome == OutcomeBlocked && d.DiedAt == "P4" {
				blocked++
			}
		}
		if blocked != 100 || r.Sessions.Len() != 1 {
			t.Errorf("got %d sessions and %d transfers blocked at P4, want 1 and 100", r.Sessions.Len(), blocked)
		}
		for m := range r.Mappings.All() {
			if m.Confidence >= 0.9 && m.ClientPort != 40000 && truth[m.ClientPort] != m.NATPort {
				t.Errorf("port %d: got %d, sure, want %d", m.ClientPort, m.NATPort, truth[m.ClientPort])
			}
		}
	})
}

// A network ACL serves its whole subnet: what FTP does not need others may.
func TestScenarioOtherTrafficKeepsItsPorts(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		var lines []string
		for i := range 20 {
			at := 100 + 20*i
			lines = append(lines,
				fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 14p/%db 12p/1200b %d..%d", 33000+1350*(i*7%20), 20000+4*i, 820+i, at, at+12),
				download(33002+1350*(i*7%20), 20002+4*i, 50000+i, fmt.Sprintf("%d..%d", at+5, at+8)),
				fmt.Sprintf("10.0.1.6:%d > 10.0.0.220:%d > 203.0.113.80:443 9p/%db 12p/9000b %d..%d", 2000+i, 30000+i, 1900+i, at+3, at+4))
		}
		r := analysed(t, calls(f, lines...), Options{Network: network(t)})
		for _, u := range r.Rules {
			if u.Point != P5 && u.Point != P6 {
				continue
			}
			if got := strings.Join(u.Others, " "); got != "2000-2019" {
				t.Errorf("%s: got others %q, want 2000-2019", u.Title, got)
			}
		}
	})
}

// Nothing is known of the interface of a regional gateway in the default
// format, which has no resource-id: no interface is taken for another.
func TestScenarioRegionalNATGatewayInTheDefaultFormat(t *testing.T) {
	r := analysed(t, calls(plain,
		"10.0.1.5:40000 > 10.0.9.9:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
		"10.0.1.5:40001 > 10.0.9.9:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
		"10.0.1.5:40002 > 10.0.9.9:20005 > 203.0.113.10:21 15p/880b 13p/1290b 200..212",
		"10.0.1.5:40003 > 10.0.9.9:31418 > 203.0.113.10:50011 7p/372b 12p/12528b 205..208"), Options{})
	expect(t, r,
		"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.9.9:20001 passive 1 ok",
		"session 10.0.1.5:40002 > 203.0.113.10:21 nat 10.0.9.9:20005 passive 1 ok")
}

// A busy resolver: thousands of queries that look alike, within the time by
// which two views of one may differ.
func TestScenarioBusyResolver(t *testing.T) {
	const n = 4000
	var lines []string
	truth := map[uint16]uint16{}
	for i := range n {
		nat := 1024 + (i*7919)%60000
		truth[uint16(10000+i)] = uint16(nat)
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.53:53 1p/%db 1p/%db %d..%d udp",
			10000+i, nat, 60+i*7%30, 100+i*13%400, 100+i/50, 100+i/50))
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := slices.Concat(calls(f, passiveSession...), calls(f, lines...))
		began := time.Now()
		r := analysed(t, rs, Options{Network: network(t)})
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("got %v for %d queries, want less than 5 s", d, n)
		}
		if r.Mappings.Len() != n+2 {
			t.Errorf("got %d mappings, want %d", r.Mappings.Len(), n+2)
		}
		sure, wrong := 0, 0
		for m := range r.Mappings.All() {
			if m.ServerPort == 53 && m.Confidence >= 0.9 {
				sure++
				if truth[m.ClientPort] != m.NATPort {
					wrong++
				}
			}
		}
		if wrong*20 > sure || sure < n/2 {
			t.Errorf("got %d sure mappings, %d of them wrong, want most sure and hardly any wrong", sure, wrong)
		}
	})
}
