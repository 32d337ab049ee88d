package analyze

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// Edits of the network.
var (
	// publicClient is a client beside the NAT gateway, which servers can reach.
	publicClient = []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client", "sg-client in tcp 1024-65535 203.0.113.0/24"}
	// sixSubnet has clients with IPv6 behind an egress-only gateway: nothing
	// comes in that was not asked for.
	sixSubnet = []string{
		"subnet subnet-six 10.0.6.0/24,2600:1f18::/64 acl-six", "eni eni-2600:1f18::5 10.0.6.5,2600:1f18::5 subnet-six sg-six",
		"eni eni-2600:1f18::6 10.0.6.6,2600:1f18::6 subnet-six sg-six",
		"route subnet-six ::/0 eigw-1", "sg-six out all ::/0", "acl-six in 100 allow all ::/0", "acl-six out 100 allow all ::/0",
	}
)

func TestScenarioExplicitTLS(t *testing.T) {
	const control = "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 40p/4300b 36p/7600b 100..160"
	play(t, []scenario{
		{
			name: "a listing, a download and an upload under TLS",
			calls: []string{control,
				"10.0.1.5:40001 > 10.0.0.220:31001 > 203.0.113.10:50010 9p/1150b 9p/1900b 105..105",
				"10.0.1.5:40002 > 10.0.0.220:31002 > 203.0.113.10:50043 13p/1360b 40p/52200b 120..124",
				"10.0.1.5:40003 > 10.0.0.220:31003 > 203.0.113.10:50077 42p/54000b 18p/1500b 140..144"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 3 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31001 passive of 40000 ok",
				"data 10.0.1.5:40002 > 203.0.113.10:50043 nat 10.0.0.220:31002 passive of 40000 ok",
				"data 10.0.1.5:40003 > 203.0.113.10:50077 nat 10.0.0.220:31003 passive of 40000 ok", "no reject",
			},
		},
		{
			name:  "the server's answers to the data connection are blocked",
			calls: []string{control, "10.0.1.5:40001 > 10.0.0.220:31001 > 203.0.113.10:50010 3p/180b 3p/180b 105..112 dies P4"},
			net:   []string{"acl-public in 90 deny tcp 31000-31999 0.0.0.0/0"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 blocked at P4",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31001 passive of 40000 blocked at P4",
				"reject P4 nacl acl-public 90 3p",
			},
		},
		{
			name: "active mode, beside the NAT gateway",
			net:  publicClient,
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:21 40p/4300b 36p/7600b 100..160",
				"203.0.113.10:20 > 10.0.0.7:40001 14p/14200b 11p/1250b 105..108",
				"203.0.113.10:20 > 10.0.0.7:40002 15p/15300b 12p/1310b 115..118"},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:21 active 2 ok",
				"data 10.0.0.7:40001 > 203.0.113.10:20 active of 40000 ok",
				"data 10.0.0.7:40002 > 203.0.113.10:20 active of 40000 ok", "no reject",
			},
		},
		{
			name:  "active mode, through the NAT gateway",
			calls: []string{control, "203.0.113.10:20 > 10.0.0.220:45678 3p/180b 0p/0b 110..117"},
			more:  []string{"eni-nat ingress 203.0.113.10:20 > 10.0.0.220:45678 3p/180b 110..117 ACCEPT"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 active 1 blocked at P4",
				"data 10.0.0.220:45678 > 203.0.113.10:20 active of 40000 blocked at P4", "no reject",
			},
		},
	})
}

func TestScenarioImplicitTLS(t *testing.T) {
	const control = "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:990 38p/4200b 34p/7300b 100..160"
	play(t, []scenario{
		{
			name: "passive",
			calls: []string{control,
				"10.0.1.5:40001 > 10.0.0.220:31001 > 203.0.113.10:50010 9p/1150b 9p/1900b 105..105",
				"10.0.1.5:40002 > 10.0.0.220:31002 > 203.0.113.10:50043 13p/1360b 40p/52200b 120..124"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:990 nat 10.0.0.220:20001 passive 2 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31001 passive of 40000 ok",
				"data 10.0.1.5:40002 > 203.0.113.10:50043 nat 10.0.0.220:31002 passive of 40000 ok", "no reject",
			},
		},
		{
			name: "active from 989, beside the NAT gateway",
			net:  publicClient,
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:990 38p/4200b 34p/7300b 100..160",
				"203.0.113.10:989 > 10.0.0.7:40001 14p/14200b 11p/1250b 105..108",
				"203.0.113.10:989 > 10.0.0.7:40002 15p/15300b 12p/1310b 115..118"},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:990 active 2 ok",
				"data 10.0.0.7:40001 > 203.0.113.10:989 active of 40000 ok",
				"data 10.0.0.7:40002 > 203.0.113.10:989 active of 40000 ok", "no reject",
			},
		},
		{
			name:  "active from 989, through the NAT gateway",
			calls: []string{control, "203.0.113.10:989 > 10.0.0.220:45678 3p/180b 0p/0b 110..117"},
			more:  []string{"eni-nat ingress 203.0.113.10:989 > 10.0.0.220:45678 3p/180b 110..117 ACCEPT"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:990 nat 10.0.0.220:20001 active 1 blocked at P4",
				"data 10.0.0.220:45678 > 203.0.113.10:989 active of 40000 blocked at P4", "no reject",
			},
		},
	})
	inFormats(t, func(t *testing.T, f logFormat) {
		for s := range analysed(t, calls(f, control), Options{Network: network(t)}).Sessions.All() {
			if s.TLS != "implicit" {
				t.Errorf("got TLS %q, want implicit", s.TLS)
			}
		}
	})
}

func TestScenarioIPv6(t *testing.T) {
	play(t, []scenario{
		{
			name: "EPSV in several sessions, one after the other and with two servers",
			net:  sixSubnet,
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 24p/1900b 20p/2240b 100..130",
				"[2600:1f18::5]:40001 > [2001:db8::10]:50010 6p/440b 10p/10728b 105..108",
				"[2600:1f18::5]:40002 > [2001:db8::10]:50031 6p/440b 12p/12872b 115..118",
				"[2600:1f18::5]:40003 > [2001:db8::10]:21 18p/1450b 16p/1800b 200..220",
				"[2600:1f18::5]:40004 > [2001:db8::10]:50055 12p/10872b 8p/584b 205..208",
				"[2600:1f18::5]:40005 > [2001:db8::11]:21 18p/1450b 16p/1800b 200..220",
				"[2600:1f18::5]:40006 > [2001:db8::11]:50061 6p/440b 10p/10728b 206..209",
				"[2600:1f18::6]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 200..220",
				"[2600:1f18::6]:40001 > [2001:db8::10]:50072 6p/440b 10p/10728b 207..210",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 passive 2 ok",
				"session [2600:1f18::5]:40003 > [2001:db8::10]:21 passive 1 ok",
				"session [2600:1f18::5]:40005 > [2001:db8::11]:21 passive 1 ok",
				"session [2600:1f18::6]:40000 > [2001:db8::10]:21 passive 1 ok",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:50010 passive of 40000 ok",
				"data [2600:1f18::5]:40002 > [2001:db8::10]:50031 passive of 40000 ok",
				"data [2600:1f18::5]:40004 > [2001:db8::10]:50055 passive of 40003 ok",
				"data [2600:1f18::5]:40006 > [2001:db8::11]:50061 passive of 40005 ok",
				"data [2600:1f18::6]:40001 > [2001:db8::10]:50072 passive of 40000 ok",
				"no map", "no reject",
			},
		},
		{
			name: "EPSV, answers stopped by the network ACL",
			net:  append(slices.Clone(sixSubnet), "acl-six in 90 deny tcp 40001 ::/0"),
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130",
				"[2600:1f18::5]:40001 > [2001:db8::10]:50010 3p/240b 3p/240b 105..112 dies P6",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 passive 1 blocked at P6",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:50010 passive of 40000 blocked at P6", "reject P6 nacl acl-six 90 3p",
			},
		},
		{
			name: "EPSV, stopped by the security group on the way out",
			net:  append(slices.Clone(sixSubnet), "sg-six out none", "sg-six out tcp 21 ::/0"),
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130",
				"[2600:1f18::5]:40001 > [2001:db8::10]:50010 3p/240b 0p/0b 105..112 dies P1",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 passive 1 blocked at P1",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:50010 passive of 40000 blocked at P1", "reject P1 sg sg-six 3p",
			},
		},
		{
			name:  "EPRT that never came: the gateway lets nothing in",
			net:   sixSubnet,
			calls: []string{"[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130"},
			want:  []string{"session [2600:1f18::5]:40000 > [2001:db8::10]:21 none 0 no-data", "no data", "no reject"},
		},
	})
}

// Transfer Family draws from nine ports, 8192-8200, so that each of them is
// used again within seconds. It is no service for that.
func TestScenarioTransferFamily(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	type place struct {
		name, server string
		net          []string
	}
	for _, p := range []place{
		{name: "outside", server: "203.0.113.10"},
		{name: "in the VPC", server: "10.0.2.9", net: serverSubnet},
	} {
		for _, tls := range []bool{false, true} {
			inFormats(t, func(t *testing.T, f logFormat) {
				t.Run(fmt.Sprintf("%s, TLS %v", p.name, tls), func(t *testing.T) {
					r := analysed(t, calls(f, transferFamily(p.server, tls)...), Options{Network: network(t, p.net...)})
					ports := map[string]uint16{}
					for s := range r.Sessions.All() {
						ports[s.ID] = s.ClientPort
					}
					data, right, wrong := 0, 0, 0
					for d := range r.Data.All() {
						data++
						control := d.ClientPort - 1 - (d.ClientPort-41000-1)%5
						if ports[d.Candidates[0]] == control {
							right++
						}
						if d.SessionID != "" && ports[d.SessionID] != control {
							wrong++
						}
						if d.ServerPort < 8192 || d.ServerPort > 8200 || d.Mode != "passive" || d.Outcome != OutcomeOK {
							t.Errorf("got %+v, want a passive one to 8192-8200", d)
						}
					}
					if r.Sessions.Len() != 20 || data != 80 || right < 60 || wrong > 2 {
						t.Errorf("got %d sessions and %d data connections, the best guess right for %d, %d given to a wrong session; want 20, 80, at least 60, at most 2",
							r.Sessions.Len(), data, right, wrong)
					}
					if got := hinted(r); got != nil {
						t.Errorf("got hints %q, want none", got)
					}
				})
			})
		}
	}
}

// transferFamily is three sessions at a time, with four transfers each, and
// then one alone, five times.
func transferFamily(server string, tls bool) []string {
	var lines []string
	next := 0
	add := func(port, pu, bu, pd, bd, from, to int) {
		way := " > "
		if !strings.HasPrefix(server, "10.") {
			way = fmt.Sprintf(" > 10.0.0.220:%d > ", 2000+next)
		}
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d%s%s:%d %dp/%db %dp/%db %d..%d", 41000+next, way, server, port, pu, bu, pd, bd, from, to))
		next++
	}
	session := func(at, n int) {
		if tls {
			add(21, 44, 4600+n, 40, 8000+n, at, at+30)
		} else {
			add(21, 26, 26*52+8+260+n, 24, 24*52+8+700+n, at, at+30)
		}
		for j := range 4 {
			from, port := at+2+7*j, 8192+(n*4+j*5)%9
			if tls {
				add(port, 13, 1400, 30, 31800+n, from, from+3)
			} else {
				add(port, 6, 320, 10, 10528+n, from, from+3)
			}
		}
	}
	for i := range 5 {
		at := 100 + 100*i
		for k := range 3 {
			session(at+2*k, 4*i+k)
		}
		session(at+50, 4*i+3)
	}
	return lines
}

// What is said of active mode depends on what stands in its way.
func TestScenarioActiveModeFindings(t *testing.T) {
	const six = "[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130"
	for _, x := range []struct {
		name, control, record, more string
		net                         []string
		nat                         bool
		filter                      string // that the broken finding names
	}{
		{name: "through the NAT gateway", control: controlOK, more: "eni-nat ingress 203.0.113.10:20 > 10.0.0.220:45678 3p/180b 110..117 ACCEPT", nat: true},
		{name: "to a client with IPv6, stopped by its security group", control: six, record: "[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1",
			net: sixSubnet, filter: "sg-six"},
		{name: "to a client with IPv6, stopped by its network ACL", control: six, record: "[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1",
			net: append(slices.Clone(sixSubnet), "sg-six in all ::/0", "acl-six in 90 deny tcp 40001 ::/0"), filter: "acl-six"},
		{name: "beside the NAT gateway", control: "10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..130", record: "203.0.113.10:20 > 10.0.0.7:40001 10p/10528b 6p/320b 105..108",
			net: publicClient},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			t.Run(x.name, func(t *testing.T) {
				rs := calls(f, x.control)
				if x.record != "" {
					rs = append(rs, calls(f, x.record)...)
				}
				if x.more != "" {
					rs = append(rs, record(in(f, x.more)))
				}
				r := analysed(t, rs, Options{Network: network(t, x.net...)})
				nat, filter := false, false
				for _, f := range r.Findings {
					nat = nat || strings.Contains(f.Title, "reached the NAT gateway")
					filter = filter || f.Severity == Broken && x.filter != "" && strings.Contains(f.Title+f.Advice, x.filter)
				}
				if nat != x.nat || filter != (x.filter != "") {
					t.Errorf("got findings %s, want one about the NAT gateway: %v, one that names %q", asJSON(t, r.Findings), x.nat, x.filter)
				}
			})
		})
	}
}

// Client and server in one VPC meet the filters of both.
func TestScenarioOneVPC(t *testing.T) {
	const control = "10.0.1.5:40000 > 10.0.2.9:21 24p/1420b 20p/2000b 100..130"
	with := func(edits ...string) []string { return slices.Concat(serverSubnet, edits) }
	play(t, []scenario{
		{
			name:  "passive",
			net:   serverSubnet,
			calls: []string{control, "10.0.1.5:40001 > 10.0.2.9:50010 6p/320b 10p/10528b 105..108", "10.0.1.5:40002 > 10.0.2.9:50021 12p/10632b 8p/424b 112..114"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 passive 2 ok", "data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 ok",
				"data 10.0.1.5:40002 > 10.0.2.9:50021 passive of 40000 ok", "no map", "no reject",
			},
		},
		{
			name:  "active",
			net:   with("sg-client in tcp 1024-65535 10.0.2.0/24"),
			calls: []string{control, "10.0.2.9:20 > 10.0.1.5:40001 10p/10528b 6p/320b 105..108", "10.0.2.9:20 > 10.0.1.5:40002 8p/424b 12p/10632b 112..114"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 active 2 ok", "data 10.0.1.5:40001 > 10.0.2.9:20 active of 40000 ok",
				"data 10.0.1.5:40002 > 10.0.2.9:20 active of 40000 ok", "no map", "no reject",
			},
		},
		{
			name:  "passive, stopped by the server's security group",
			net:   with("sg-server in none", "sg-server in tcp 21 10.0.0.0/16"),
			calls: []string{control, "10.0.1.5:40001 > 10.0.2.9:50010 3p/180b 0p/0b 105..112 dies S1"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 passive 1 blocked at server",
				"data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 blocked at server", "reject sg sg-server 3p",
			},
		},
		{
			name:  "passive, answers stopped by the server's network ACL",
			net:   with("acl-server out 90 deny tcp 40001 0.0.0.0/0"),
			calls: []string{control, "10.0.1.5:40001 > 10.0.2.9:50010 3p/180b 3p/180b 105..112 dies S2"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 passive 1 blocked at server",
				"data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 blocked at server", "reject nacl acl-server 90 3p",
			},
		},
		{
			name:  "in one subnet no network ACL counts",
			net:   []string{"eni eni-10.0.1.9 10.0.1.9 subnet-private sg-server", "sg-server in all 10.0.0.0/16", "sg-server out all 0.0.0.0/0", "acl-private in 90 deny tcp 1-65535 10.0.1.0/24"},
			calls: []string{"10.0.1.5:40000 > 10.0.1.9:21 14p/820b 12p/1200b 100..130", "10.0.1.5:40001 > 10.0.1.9:50010 6p/320b 10p/10528b 105..108"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.1.9:21 passive 1 ok", "data 10.0.1.5:40001 > 10.0.1.9:50010 passive of 40000 ok", "no reject",
			},
		},
	})
}

// An active data connection that the client's own filters stop dies at the
// client's interface, on its way in from the server: P6.
func TestScenarioActiveStoppedAtTheClient(t *testing.T) {
	const control = "10.0.1.5:40000 > 10.0.2.9:21 24p/1420b 20p/2000b 100..130"
	play(t, []scenario{
		{
			name: "active from 989, stopped by the security group",
			net:  []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client"},
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:990 38p/4200b 34p/7300b 100..160",
				"203.0.113.10:989 > 10.0.0.7:40001 3p/180b 0p/0b 105..112 dies S1"},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:990 active 1 blocked at P6",
				"data 10.0.0.7:40001 > 203.0.113.10:989 active of 40000 blocked at P6", "reject P6 sg sg-client 3p",
			},
		},
		{
			name: "EPRT, stopped by the security group",
			net:  sixSubnet,
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130",
				"[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 active 1 blocked at P6",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:20 active of 40000 blocked at P6", "reject P6 sg sg-six 3p",
			},
		},
		{
			name: "EPRT, stopped by the network ACL, and the security group behind it",
			net:  append(slices.Clone(sixSubnet), "acl-six in 90 deny tcp 40001 ::/0"),
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130",
				"[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 active 1 blocked at P6",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:20 active of 40000 blocked at P6", "reject P6 nacl acl-six 90 3p also sg-six",
			},
		},
		{
			name:  "active, stopped by the client's security group",
			net:   serverSubnet,
			calls: []string{control, "10.0.2.9:20 > 10.0.1.5:40001 3p/180b 0p/0b 105..112 dies S1"},
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 active 1 blocked at P6",
				"data 10.0.1.5:40001 > 10.0.2.9:20 active of 40000 blocked at P6", "reject P6 sg sg-client 3p",
			},
		},
	})
}

// What is said of a filter that stops active mode names the place, and what
// the conclusion stands on.
func TestScenarioActiveModeWords(t *testing.T) {
	const (
		control = "[2600:1f18::5]:40000 > [2001:db8::10]:21 18p/1450b 16p/1800b 100..130"
		data    = "[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1"
		more    = "[2001:db8::10]:20 > [2600:1f18::5]:40003 3p/240b 0p/0b 118..124 dies S1"
	)
	for _, x := range []struct {
		name                    string
		net, calls              []string
		title, evidence, advice string
	}{
		{
			name: "the security group has no rule", net: sixSubnet, calls: []string{control, data, more},
			title:    "2 of 2 FTP connections died at P6: sg-six inbound: data from the servers",
			evidence: "The rules then in force name sg-six (no rule allows it) for all 2. Nothing passed here.",
			advice:   "Allow tcp 32768-65535 in sg-six. Passive mode would do without it.",
		},
		{
			name: "the network ACL has an entry", net: append(slices.Clone(sixSubnet), "acl-six in 90 deny tcp 40001 ::/0"), calls: []string{control, data},
			title:    "1 of 1 FTP connection died at P6: acl-six inbound: data from the servers",
			evidence: "The rules then in force name acl-six rule 90 deny tcp 40001 from ::/0 for the one. Nothing passed here.",
			advice:   "In acl-six take away acl-six rule 90 deny tcp 40001 from ::/0, or put an entry with a lower number before it that allows tcp 32768-65535.",
		},
		{
			name: "the snapshot allows it", net: append(slices.Clone(sixSubnet), "sg-six in all ::/0"), calls: []string{control, data},
			title:    "1 of 1 FTP connection died at P6: acl-six inbound: data from the servers",
			evidence: "The snapshot's rules allow the one, so other rules were in force then. Nothing passed here.",
			advice:   "Allow tcp 32768-65535 in acl-six.",
		},
		{
			name: "the rules are not known", calls: []string{control, data, "[2600:1f18::5]:40100 > [2001:db8::99]:443 9p/900b 9p/900b 100..110"},
			title:    "1 of 1 FTP connection died at P6: security group or network ACL of eni-2600:1f18::5 inbound: data from the servers",
			evidence: "The rules are not known; the log alone leaves the security group or the network ACL for the one. Nothing passed here.",
			advice:   "See that the security group or network ACL of eni-2600:1f18::5 lets tcp 32768-65535 through. With the rules (--network), the entry is named.",
		},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			t.Run(x.name, func(t *testing.T) {
				var o Options
				if x.net != nil {
					o.Network = network(t, x.net...)
				}
				got := analysed(t, calls(f, x.calls...), o).Findings[0]
				if got.Title != x.title || got.Evidence != x.evidence || got.Advice != x.advice {
					t.Errorf("got  %q\n     %q\n     %q\nwant %q\n     %q\n     %q", got.Title, got.Evidence, got.Advice, x.title, x.evidence, x.advice)
				}
			})
		})
	}
}

// The points of an active data connection are named from the client's side,
// by the rules as in the log.
func TestActiveModeIsExplainedFromTheClient(t *testing.T) {
	h := network(t, sixSubnet...)
	q := Query{Flow: flow.Tuple{Src: mustAddr("2001:db8::10"), SrcPort: 20, Dst: mustAddr("2600:1f18::5"), DstPort: 40001, Proto: flow.TCP}}
	trace, err := Explain(h.At(scenarioStart), q.Flow, 0)
	if err != nil {
		t.Fatal(err)
	}
	if died := trace.DiedAt(); died == nil || died.Point != P6 {
		t.Errorf("by the rules it dies at %v, want P6", died)
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		os, err := Observe(stream(calls(f, "[2001:db8::10]:20 > [2600:1f18::5]:40001 3p/240b 0p/0b 105..112 dies S1")), Options{Network: h}, q)
		if err != nil || len(os) != 1 {
			t.Fatalf("got %d connections and %v, want one", len(os), err)
		}
		if os[0].DiedAt != "P6" || len(os[0].Points) != 1 || os[0].Points[0].Point != P6 {
			t.Errorf("got %+v, want it to die at P6", os[0])
		}
	})
}

// A client that lets an active data connection in and does not answer, or
// answers with RST, is where it ends.
func TestScenarioActiveModeEndsAtTheClient(t *testing.T) {
	for answer, want := range map[string]string{
		"3p/180b 0p/0b 105..112":     "no-answer at P6: it reached the client, which did not answer",
		"1p/60b 1p/40b 105..105 rst": "refused at P6: the client answered with RST",
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			r := analysed(t, calls(f, "10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..130", "203.0.113.10:20 > 10.0.0.7:40001 "+answer),
				Options{Network: network(t, publicClient...)})
			for d := range r.Data.All() {
				if got := fmt.Sprintf("%s at %s: %s", d.Outcome, d.DiedAt, d.Cause); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if r.Data.Len() != 1 {
				t.Errorf("got %d data connections, want 1", r.Data.Len())
			}
		})
	}
}

// A cluster tells another address for data than the one that it is called
// by. Sessions that had transfers and no data connection of their own say so,
// if they do it again and again; and a named passive range decides.
func TestScenarioDataAtAnotherAddress(t *testing.T) {
	var lines []string
	for i := range 6 {
		at := 100 + 40*i
		lines = append(lines,
			fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 22p/1290b 19p/1650b %d..%d", 40000+2*i, 20000+2*i, at, at+7),
			fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.77:%d 6p/320b 10p/10528b %d..%d", 41000+2*i, 21000+2*i, 50000+7*i, at+2, at+3),
			fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.77:%d 6p/320b 10p/11528b %d..%d", 42000+2*i, 22000+2*i, 50003+7*i, at+4, at+5))
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		named := Options{Network: network(t), PassiveRanges: []PassiveRange{{netip.MustParsePrefix("203.0.113.0/24"), 50000, 50099}}}
		for _, o := range []Options{{Network: network(t)}, named} {
			r := analysed(t, calls(f, lines...), o)
			of := 0
			for d := range r.Data.All() {
				if d.SessionID != "" {
					of++
				}
			}
			if r.Sessions.Len() != 6 || of != 12 {
				t.Errorf("ranges %v: got %d sessions and %d data connections with one, want 6 and 12", o.PassiveRanges, r.Sessions.Len(), of)
			}
		}
		named.PassiveRanges[0].From, named.PassiveRanges[0].To = 60000, 60099
		if r := analysed(t, calls(f, lines...), named); r.Data.Len() != 0 {
			t.Errorf("got %d data connections outside the named range, want none", r.Data.Len())
		}
	})
}
