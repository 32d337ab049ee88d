package analyze

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func prefixes(s string) []netip.Prefix {
	if s == "" {
		return nil
	}
	return []netip.Prefix{netip.MustParsePrefix(s)}
}

// everything is a log with a bit of all: sessions that work, that die at
// each point, that are ambiguous, reused ports, late packets, a scanner.
var everything = []string{
	"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 24p/1420b 20p/2000b 100..110,290..300,560..570",
	"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
	"10.0.1.5:40002 > 10.0.0.220:20003 > 203.0.113.10:50020 60p/3128b 90p/110000b 294..562",
	"10.0.1.5:40004 > 10.0.0.220:20004 > 203.0.113.10:50030 3p/180b 3p/180b 565..567 dies P4",
	"10.0.1.6:41000 > 10.0.0.220:21001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
	"10.0.1.6:41002 > 10.0.0.220:21002 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
	"10.0.1.6:41003 > 10.0.0.220:21003 > 203.0.113.10:50040 6p/320b 10p/10528b 105..108",
	"10.0.1.6:41005 > 10.0.0.220:21004 > 203.0.113.11:50040 6p/320b 10p/10528b 105..108",
	"10.0.1.6:41004 > 10.0.0.220:21005 > 203.0.113.11:21 14p/820b 12p/1200b 100..130",
	"10.0.1.6:41000 > 10.0.0.220:21006 > 203.0.113.10:21 14p/830b 12p/1230b 640..652",
	"10.0.1.6:41010 > 10.0.0.220:21007 > 203.0.113.10:21 3p/180b 3p/180b 640..647 dies P1",
	"10.0.1.6:41012 > 10.0.0.220:21008 > 203.0.113.10:21 3p/180b 3p/180b 640..647 dies P6",
	"10.0.1.6:51000 > 10.0.0.220:21009 > 203.0.113.53:53 1p/70b 1p/200b 104..104 udp",
	"10.0.1.6:0 > 10.0.0.220:0 > 203.0.113.53:0 4p/336b 4p/336b 104..107 icmp",
	"198.51.100.9:55555 > 10.0.0.7:3389 1p/44b 0p/0b 111..111 lost S2",
}

// samePort lets one client port lead to two servers at the same time, which
// the default format cannot tell apart at the NAT gateway's inside.
var samePort = []string{
	"10.0.1.6:42000 > 10.0.0.220:22001 > 203.0.113.10:21 14p/820b 12p/1200b 200..230",
	"10.0.1.6:42000 > 10.0.0.220:22002 > 203.0.113.11:21 14p/820b 12p/1200b 200..230",
}

// everythingIn makes the records in a format, and some that are no call's.
func everythingIn(f logFormat) []flow.Record {
	lines := everything
	if f.rich {
		lines = slices.Concat(lines, samePort)
	}
	return slices.Concat(calls(f, lines...), records(
		in(f, "eni-nat ingress 198.51.100.9:55555 > 10.0.0.220:3389 1p/44b 111..111 ACCEPT SYN"),
		in(f, "eni-nat ingress 203.0.113.10:20 > 10.0.0.220:41005 3p/180b 112..119 ACCEPT SYN"),
		in(f, "eni-10.0.1.5 ingress 203.0.113.10:50010 > 10.0.1.5:40001 1p/40b 112..112 REJECT RST")))
}

var everythingNet = []string{"acl-public in 90 deny tcp 20004 0.0.0.0/0", "acl-private in 90 deny tcp 41012 0.0.0.0/0",
	"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client", "eni eni-10.0.1.6 10.0.1.6 subnet-private sg-other", "sg-other out all 203.0.113.11/32", "sg-other out tcp 1024-65535 0.0.0.0/0"}

// Neither the order of the records nor how flow logs share them changes a
// byte of the result.
func TestScenarioOrderChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for _, withNetwork := range []bool{true, false} {
		inFormats(t, func(t *testing.T, f logFormat) {
			o := Options{}
			if withNetwork {
				o.Network = network(t, everythingNet...)
			}
			rs := everythingIn(f)
			want := asJSON(t, analysed(t, rs, o))
			for round := range 30 {
				rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
				split := slices.Clone(rs)
				if round%2 == 1 {
					for i := range split {
						split[i].FlowLogID = fmt.Sprintf("fl-%d", 1+rng.IntN(2))
					}
				}
				if got := asJSON(t, analysed(t, split, o)); got != want {
					t.Fatalf("round %d: another order or split gives another result: %s", round, firstDifference(got, want))
				}
			}
		})
	}
}

func firstDifference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	around := func(s string) string { return s[max(0, i-200):min(len(s), i+200)] }
	return fmt.Sprintf("\n got ...%s...\nwant ...%s...", around(got), around(want))
}

// Pitfall 12: two flow logs on the same traffic double nothing.
func TestScenarioDuplicates(t *testing.T) {
	second := func(f logFormat) logFormat { f.log = "fl-2"; return f }
	long := func(f logFormat) logFormat { f.log, f.window = "fl-2", 600; return f }
	for _, x := range []struct {
		name       string
		one, other logFormat
	}{
		{"rich twice", rich, second(rich)},
		{"default twice", plain, second(plain)},
		{"rich and default", rich, second(plain)},
		{"rich every 60 s and every 600 s", rich, long(rich)},
		{"default every 60 s and every 600 s", plain, long(plain)},
		{"rich every 60 s, default every 600 s", rich, long(plain)},
	} {
		t.Run(x.name, func(t *testing.T) {
			o := Options{Network: network(t, everythingNet...)}
			rng := rand.New(rand.NewPCG(3, 5))
			once := everythingIn(x.one)
			twice := slices.Concat(once, everythingIn(x.other))
			want := analysed(t, once, o)
			for range 3 {
				got := analysed(t, twice, o)
				expect(t, got, told(want)...)
				if a, b := asJSON(t, got.Ports), asJSON(t, want.Ports); a != b {
					t.Errorf("port demand: %s", firstDifference(a, b))
				}
				if a, b := asJSON(t, got.Sessions), asJSON(t, want.Sessions); a != b {
					t.Errorf("sessions: %s", firstDifference(a, b))
				}
				if got.Coverage.Duplicates == 0 || got.Coverage.Records != want.Coverage.Records {
					t.Errorf("coverage: got %d duplicates of %d records, want some of %d", got.Coverage.Duplicates, got.Coverage.Records, want.Coverage.Records)
				}
				if !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "came twice") }) {
					t.Errorf("got warnings %q, want one of records that came twice", got.Warnings)
				}
				rng.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
			}
		})
	}
}

// One client port may lead to several servers at once. At the NAT gateway's
// inside only the header addresses keep such connections apart.
func TestScenarioOneClientPortToTwoServers(t *testing.T) {
	lines := []string{
		"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
		"10.0.1.5:40000 > 10.0.0.220:20002 > 203.0.113.11:21 14p/820b 12p/1200b 100..112",
		"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
		"10.0.1.5:40001 > 10.0.0.220:31419 > 203.0.113.11:50010 6p/320b 10p/10528b 105..108",
	}
	r := analysed(t, calls(rich, lines...), Options{Network: network(t)})
	expect(t, r,
		"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
		"session 10.0.1.5:40000 > 203.0.113.11:21 nat 10.0.0.220:20002 passive 1 ok",
		"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
		"data 10.0.1.5:40001 > 203.0.113.11:50010 nat 10.0.0.220:31419 passive of 40000 ok")
	if r.Coverage.Duplicates != 0 {
		t.Errorf("got %d duplicates, want none", r.Coverage.Duplicates)
	}
}

// Pitfall 3: lines without traffic are counted and shown.
func TestScenarioCoverage(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		want := analysed(t, calls(f, passiveSession...), Options{Network: network(t)})
		r := analysed(t, slices.Concat(calls(f, passiveSession...), records("eni-10.0.1.5 NODATA 0..59", "eni-nat SKIPDATA 60..119", "eni-nat SKIPDATA 120..179")),
			Options{Network: network(t)})
		if r.Coverage.NoData != 1 || r.Coverage.SkipData != 2 || r.Coverage.Records != want.Coverage.Records {
			t.Errorf("coverage: got %+v, want 1 NODATA, 2 SKIPDATA and %d records", r.Coverage, want.Coverage.Records)
		}
		if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "SKIPDATA") }) {
			t.Errorf("got warnings %q, want one of SKIPDATA", r.Warnings)
		}
		expect(t, r, told(want)...)
		if r.Coverage.HeaderAddrs != f.rich || r.Coverage.Flags != f.rich || !r.Coverage.Snapshot || r.Coverage.Interfaces != 2 {
			t.Errorf("coverage: got %+v, want header addresses and flags %v, 2 interfaces", r.Coverage, f.rich)
		}
	})
}

// A log that lacks some points still tells what the others show.
func TestScenarioMissingPoints(t *testing.T) {
	play(t, []scenario{
		{
			name:  "no flow log on the NAT gateway",
			calls: []string{passiveSession[0] + " without P2,P3,P4,P5", passiveSession[1] + " without P2,P3,P4,P5"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 passive of 40000 ok", "no map", "no reject",
			},
		},
		{
			name:  "no flow log on the client",
			calls: []string{passiveSession[0] + " without P1,P6", passiveSession[1] + " without P1,P6"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok", "no reject",
			},
		},
		{
			name:  "a record lost at one point",
			calls: []string{passiveSession[0], passiveSession[1] + " without P5"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok", "no reject",
			},
		},
	})
}

// Nothing at all is a result too, and lists are empty rather than absent.
func TestScenarioEmptyLog(t *testing.T) {
	for _, rs := range [][]flow.Record{nil, records("eni-1 NODATA 0..60")} {
		r := analysed(t, rs, Options{})
		if r.Sessions.Len() != 0 || len(r.Findings) == 0 {
			t.Errorf("got %d sessions and %d findings, want none and some", r.Sessions.Len(), len(r.Findings))
		}
	}
}

// Two flow logs with the same interval cut it at other times. Which of them
// is counted must not depend on which comes first.
func TestScenarioDuplicatesWithOtherWindows(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		shifted := f
		shifted.log, shifted.phase = "fl-0", 29
		o := Options{Network: network(t, everythingNet...)}
		rs := slices.Concat(everythingIn(f), everythingIn(shifted))
		want := analysed(t, rs, o)
		rng := rand.New(rand.NewPCG(2, 9))
		for range 10 {
			rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
			if got, want := asJSON(t, analysed(t, rs, o)), asJSON(t, want); got != want {
				t.Fatalf("another order gives another result: %s", firstDifference(got, want))
			}
		}
		// Whose windows they are tells something of the pairing, but of nothing else.
		once := slices.DeleteFunc(told(analysed(t, everythingIn(f), o)), func(line string) bool { return strings.HasPrefix(line, "session") || strings.HasPrefix(line, "data") })
		expect(t, want, once...)
	})
}

func TestScenarioErrorsInTheStream(t *testing.T) {
	good := calls(rich, passiveSession...)
	broken := errors.New("the network is gone")
	for _, x := range []struct {
		name string
		err  error
		bad  int
		want error
	}{
		{"a bad record", &flow.RecordError{Place: "a.log", Line: 3, Err: errors.New("not a number")}, 1, nil},
		{"a file that ends early", &flow.ObjectError{Place: "a.log.gz", Err: io.ErrUnexpectedEOF}, 0, nil},
		{"anything else", broken, 0, broken},
	} {
		t.Run(x.name, func(t *testing.T) {
			r, err := Run(func(yield func(*flow.Record, error) bool) {
				for i := range good {
					if i == 3 && !yield(nil, x.err) || !yield(&good[i], nil) {
						return
					}
				}
			}, Options{Network: network(t)})
			if !errors.Is(err, x.want) || x.want == nil && err != nil {
				t.Fatalf("got error %v, want %v", err, x.want)
			}
			if err != nil {
				return
			}
			expect(t, r, "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok")
			if r.Coverage.BadRecords != x.bad {
				t.Errorf("got %d bad records, want %d", r.Coverage.BadRecords, x.bad)
			}
		})
	}
}

// A snapshot of another network is said to be that.
func TestSnapshotOfAnotherNetwork(t *testing.T) {
	rs := calls(rich, controlOK)
	for _, h := range []*rules.History{nil, network(t)} {
		if got := analysed(t, rs, Options{Network: h}).Warnings; len(got) != 0 {
			t.Errorf("got warnings %q, want none", got)
		}
	}
	for i := range rs {
		rs[i].InterfaceID = "eni-elsewhere"
	}
	got := analysed(t, rs, Options{Network: network(t)}).Warnings
	if len(got) == 0 || !strings.Contains(got[0], "none of the 1 interface in the log is in the snapshot") {
		t.Errorf("got warnings %q, want one about the snapshot", got)
	}
	rs = append(rs, calls(rich, controlOK)...)
	got = analysed(t, rs, Options{Network: network(t)}).Warnings
	if len(got) == 0 || !strings.Contains(got[0], "1 of the 3 interfaces in the log are not in the snapshot, so their rules are not known: eni-elsewhere") {
		t.Errorf("got warnings %q, want one about the snapshot", got)
	}
}
