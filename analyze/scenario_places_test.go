package analyze

import (
	"fmt"
	"slices"
	"testing"
)

// publicServer is an FTP server of the VPC for clients on the internet.
var publicServer = []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-ftp", "sg-ftp in tcp 21 0.0.0.0/0", "sg-ftp in tcp 50000-50100 0.0.0.0/0", "sg-ftp out all 0.0.0.0/0"}

func TestScenarioServerForTheInternet(t *testing.T) {
	play(t, []scenario{
		{
			name: "passive",
			net:  publicServer,
			calls: []string{
				"198.51.100.9:40000 > 10.0.0.7:21 14p/820b 12p/1200b 100..130",
				"198.51.100.9:40001 > 10.0.0.7:50010 6p/320b 10p/10528b 105..108",
			},
			want: []string{
				"session 198.51.100.9:40000 > 10.0.0.7:21 passive 1 ok",
				"data 198.51.100.9:40001 > 10.0.0.7:50010 passive of 40000 ok", "no reject", "no map",
			},
		},
		{
			name: "passive, the range not open",
			net:  publicServer,
			calls: []string{
				"198.51.100.9:40000 > 10.0.0.7:21 14p/820b 12p/1200b 100..130",
				"198.51.100.9:40001 > 10.0.0.7:50210 3p/180b 0p/0b 105..112 dies S1",
			},
			want: []string{
				"session 198.51.100.9:40000 > 10.0.0.7:21 passive 1 blocked at server",
				"data 198.51.100.9:40001 > 10.0.0.7:50210 passive of 40000 blocked at server", "reject sg sg-ftp 3p",
			},
		},
		{
			name: "passive, the answers blocked",
			net:  append([]string{"acl-public out 90 deny tcp 40001 0.0.0.0/0"}, publicServer...),
			calls: []string{
				"198.51.100.9:40000 > 10.0.0.7:21 14p/820b 12p/1200b 100..130",
				"198.51.100.9:40001 > 10.0.0.7:50010 3p/180b 3p/180b 105..112 dies S2",
			},
			want: []string{
				"data 198.51.100.9:40001 > 10.0.0.7:50010 passive of 40000 blocked at server", "reject nacl acl-public 90 3p",
			},
		},
		{
			name: "active",
			net:  publicServer,
			calls: []string{
				"198.51.100.9:40000 > 10.0.0.7:21 14p/820b 12p/1200b 100..130",
				"10.0.0.7:20 > 198.51.100.9:40001 10p/10528b 6p/320b 105..108",
			},
			want: []string{
				"session 198.51.100.9:40000 > 10.0.0.7:21 active 1 ok",
				"data 198.51.100.9:40001 > 10.0.0.7:20 active of 40000 ok", "no reject",
			},
		},
		{
			name: "scanners that the security group keeps out are no sessions",
			net:  []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-ftp", "sg-ftp in tcp 22 0.0.0.0/0", "sg-ftp out all 0.0.0.0/0"},
			calls: []string{
				"198.51.100.9:40000 > 10.0.0.7:21 1p/44b 0p/0b 100..100 dies S1",
				"198.51.100.9:40001 > 10.0.0.7:21 1p/44b 0p/0b 103..103 dies S1",
			},
			want: []string{"no session", "no data", "reject sg sg-ftp 1p", "reject sg sg-ftp 1p"},
		},
	})
}

func TestScenarioOtherPlaces(t *testing.T) {
	play(t, []scenario{
		{
			name: "private NAT gateway to a network on premises",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 192.168.7.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40001 > 10.0.0.220:31417 > 192.168.7.10:50010 6p/320b 10p/10528b 105..108",
			},
			want: []string{
				"session 10.0.1.5:40000 > 192.168.7.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 192.168.7.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
				"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417",
			},
		},
		{
			name:  "private NAT gateway to a server of the VPC that is logged",
			calls: toServerThroughNAT,
			net:   throughNAT,
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 10.0.2.9:50010 nat 10.0.0.220:31417 passive of 40000 ok",
			},
		},
		{
			name: "server in a peered VPC that is not logged",
			calls: []string{
				"10.0.1.5:40000 > 10.9.0.9:21 14p/820b 12p/1200b 100..130",
				"10.0.1.5:40001 > 10.9.0.9:50010 6p/320b 10p/10528b 105..108",
				"10.0.1.5:40003 > 10.9.0.9:50011 3p/180b 3p/180b 115..120 dies P6",
			},
			net: []string{"acl-private in 90 deny tcp 40003 10.9.0.0/16"},
			want: []string{
				"session 10.0.1.5:40000 > 10.9.0.9:21 passive 2 blocked at P6",
				"data 10.0.1.5:40001 > 10.9.0.9:50010 passive of 40000 ok",
				"data 10.0.1.5:40003 > 10.9.0.9:50011 passive of 40000 blocked at P6",
				"reject P6 nacl acl-private 90 3p",
			},
		},
		{
			name:  "the default entry of IPv6",
			calls: []string{"[2600:1f18::5]:40000 > [2001:db8::10]:21 3p/240b 0p/0b 100..107 dies P1"},
			net: []string{"subnet subnet-six 10.0.6.0/24,2600:1f18::/64 acl-six", "eni eni-2600:1f18::5 10.0.6.5,2600:1f18::5 subnet-six sg-six",
				"route subnet-six ::/0 eigw-1", "sg-six out all ::/0", "acl-six out 100 allow all 0.0.0.0/0"},
			want: []string{"reject P1 nacl acl-six 32768 3p", "session [2600:1f18::5]:40000 > [2001:db8::10]:21 none 0 blocked at P1"},
		},
	})
}

// A private NAT gateway between a client and a server whose interfaces are
// both logged.
var (
	toServerThroughNAT = []string{
		"10.0.1.5:40000 > 10.0.0.220:20001 > 10.0.2.9:21 14p/820b 12p/1200b 100..130",
		"10.0.1.5:40001 > 10.0.0.220:31417 > 10.0.2.9:50010 6p/320b 10p/10528b 105..108",
	}
	throughNAT = append([]string{"route subnet-private 10.0.2.0/24 nat-1", "acl-server in 90 deny tcp 50011 10.0.0.0/24"}, serverSubnet...)
)

// In the default format a lone SYN between two private addresses does not
// tell on which side of the gateway it was seen.
func TestScenarioServerBehindNATBlocks(t *testing.T) {
	r := analysed(t, calls(rich, append(toServerThroughNAT[:2:2], "10.0.1.5:40003 > 10.0.0.220:31418 > 10.0.2.9:50011 3p/180b 3p/180b 110..115 dies S1")...),
		Options{Network: network(t, throughNAT...)})
	expect(t, r,
		"session 10.0.1.5:40000 > 10.0.2.9:21 nat 10.0.0.220:20001 passive 2 blocked at server",
		"data 10.0.1.5:40001 > 10.0.2.9:50010 nat 10.0.0.220:31417 passive of 40000 ok",
		"data 10.0.1.5:40003 > 10.0.2.9:50011 nat 10.0.0.220:31418 passive of 40000 blocked at server",
		"reject nacl acl-server 90 3p")
}

// start and end may be up to 60 s late, at one interface and not at another.
func TestScenarioLateTimes(t *testing.T) {
	for _, late := range []int64{1, 5, 20, 45, 59} {
		for _, iface := range []string{"eni-nat", "eni-10.0.1.5"} {
			inFormats(t, func(t *testing.T, f logFormat) {
				rs := calls(f, passiveSession...)
				for i := range rs {
					if rs[i].InterfaceID == iface {
						rs[i].Start, rs[i].End = rs[i].Start+late, rs[i].End+late
					}
				}
				t.Run(fmt.Sprintf("%s %d s", iface, late), func(t *testing.T) {
					expect(t, analysed(t, rs, Options{Network: network(t)}),
						"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
						"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
						"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417")
				})
			})
		}
	}
}

// Any one point's records may be missing, and the session is still one
// session through the NAT gateway.
func TestScenarioEachPointMissing(t *testing.T) {
	for _, missing := range []string{"P1", "P2", "P3", "P4", "P5", "P6", "P1,P6", "P2,P5"} {
		inFormats(t, func(t *testing.T, f logFormat) {
			if !f.rich && missing == "P3" {
				return // what comes to the gateway then looks like a scanner
			}
			t.Run(missing, func(t *testing.T) {
				r := analysed(t, calls(f, passiveSession[0]+" without "+missing, passiveSession[1]+" without "+missing), Options{Network: network(t)})
				expect(t, r,
					"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
					"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok")
			})
		})
	}
}

func TestScenarioTransfers(t *testing.T) {
	control := "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 24p/1420b 20p/2000b 100..160"
	secret := "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 34p/3900b 30p/6800b 100..160"
	var few []string
	for i := range 12 {
		few = append(few,
			fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 14p/%db 12p/1200b %d..%d", 42000+4*i, 22000+4*i, 820+i, 1000+60*i, 1020+60*i),
			fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:%d 6p/320b 10p/%db %d..%d", 42002+4*i, 22002+4*i, 50000+i%2, 10528+i, 1005+60*i, 1008+60*i))
	}
	ok := "data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok"
	play(t, []scenario{
		{name: "upload", calls: []string{control, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 12p/10632b 8p/424b 105..108"}, want: []string{ok}},
		{name: "empty file", calls: []string{control, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 4p/216b 3p/164b 105..105"}, want: []string{ok}},
		{name: "a client without time stamps", calls: []string{
			"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/660b 12p/1060b 100..112",
			"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 6p/252b 10p/10412b 105..108"}, want: []string{ok}},
		{name: "explicit TLS", calls: []string{secret, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 11p/1250b 16p/14200b 105..108"}, want: []string{ok}},
		{name: "control encrypted, data in the clear", calls: []string{secret, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108"}, want: []string{ok}},
	})
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, few...), Options{Network: network(t)})
		given := 0
		for d := range r.Data.All() {
			if d.SessionID != "" {
				given++
			}
		}
		if r.Data.Len() != 12 || given != 12 {
			t.Errorf("a server with two passive ports: got %d data connections, %d of a session, want 12 and 12", r.Data.Len(), given)
		}
	})
}

// A session whose transfers all failed is not ok.
func TestScenarioSessionOfAFailedTransfer(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		for _, x := range []struct{ data, want string }{
			{"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 3p/180b 0p/0b 105..112 lost P4", "no-answer at server"},
			{"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 1p/60b 1p/40b 105..105 rst", "refused at server"},
		} {
			r := analysed(t, calls(f, controlOK, x.data), Options{Network: network(t)})
			expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 "+x.want)
		}
	})
}

// Every way to block shows as a finding that names the filter.
func TestScenarioFindingsNameTheFilter(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		for _, p := range []Point{P1, P2, P3, P4, P5, P6} {
			deny := map[Point]string{P1: "acl-private out 90 deny tcp 50010 0.0.0.0/0", P2: "acl-public in 90 deny tcp 50010 10.0.0.0/16", P3: "acl-public out 90 deny tcp 50010 0.0.0.0/0",
				P4: "acl-public in 90 deny tcp 31417 0.0.0.0/0", P5: "acl-public out 90 deny tcp 40001 10.0.0.0/16", P6: "acl-private in 90 deny tcp 40001 0.0.0.0/0"}[p]
			r := analysed(t, calls(f, controlOK, blockedData(p.String())), Options{Network: network(t, deny)})
			broken := slices.DeleteFunc(slices.Clone(r.Findings), func(x Finding) bool { return x.Severity != Broken })
			if len(broken) != 1 || broken[0].Rule == 0 || r.Rules[broken[0].Rule-1].Point != p || r.Rules[broken[0].Rule-1].Verdict != "fix" {
				t.Errorf("%s: got findings %+v, want one, of a rule at that point to fix", p, broken)
			}
		}
	})
}

// A packet on its own, long after, does not turn the connection round.
func TestScenarioStragglerTurnsNothing(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := slices.Concat(calls(f,
			"10.0.1.5:40000 > 10.0.2.9:21 44p/2560b 40p/4000b 100..110,300..310,500..510,700..710",
			"10.0.1.5:40001 > 10.0.2.9:50010 6p/320b 10p/10528b 105..108"), records(
			in(f, "eni-10.0.2.9 egress 10.0.2.9:50010 > 10.0.1.5:40001 1p/52b 600..600 ACCEPT 0"),
			in(f, "eni-10.0.1.5 ingress 10.0.2.9:50010 > 10.0.1.5:40001 1p/52b 600..600 REJECT 0")))
		r := analysed(t, rs, Options{Network: network(t, serverSubnet...)})
		expect(t, r, "session 10.0.1.5:40000 > 10.0.2.9:21 passive 1 ok", "data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 ok", "reject P6 late 1p")
	})
}

// Routes, rules and addresses of two clients with one address each in two
// subnets do not mix: every client's own filters are named.
func TestScenarioTwoPrivateSubnets(t *testing.T) {
	net := []string{"subnet subnet-other 10.0.3.0/24 acl-other", "eni eni-10.0.3.5 10.0.3.5 subnet-other sg-other", "route subnet-other 0.0.0.0/0 nat-1",
		"acl-other in 100 allow all 0.0.0.0/0", "acl-other out 100 allow all 0.0.0.0/0", "acl-other in 90 deny tcp 40001 0.0.0.0/0", "sg-other out all 0.0.0.0/0"}
	play(t, []scenario{{
		name: "one of them blocks",
		net:  net,
		calls: append([]string{
			"10.0.3.5:40000 > 10.0.0.220:25001 > 203.0.113.10:21 14p/822b 12p/1202b 100..112",
			"10.0.3.5:40001 > 10.0.0.220:25002 > 203.0.113.10:50011 3p/180b 3p/180b 104..111 dies P6",
		}, passiveSession...),
		want: []string{
			"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
			"session 10.0.3.5:40000 > 203.0.113.10:21 nat 10.0.0.220:25001 passive 1 blocked at P6",
			"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
			"data 10.0.3.5:40001 > 203.0.113.10:50011 nat 10.0.0.220:25002 passive of 40000 blocked at P6",
			"reject P6 nacl acl-other 90 3p",
		},
	}})
}
