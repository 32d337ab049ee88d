package digest_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

const header = "version interface-id resource-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status " +
	"vpc-id subnet-id instance-id tcp-flags pkt-srcaddr pkt-dstaddr flow-direction reject-reason"

// steps are what a stream gives, copied.
type steps struct {
	records []flow.Record
	errs    []error
}

func collect(records iter.Seq2[*flow.Record, error]) (s steps) {
	for r, err := range records {
		if err != nil {
			s.errs = append(s.errs, err)
			continue
		}
		s.records = append(s.records, *r)
	}
	return s
}

// stream gives the steps again, errors among the records.
func (s steps) stream(yield func(*flow.Record, error) bool) {
	for i := range s.records {
		if i < len(s.errs) && !yield(nil, s.errs[i]) {
			return
		}
		if !yield(&s.records[i], nil) {
			return
		}
	}
	for _, err := range s.errs[min(len(s.errs), len(s.records)):] {
		if !yield(nil, err) {
			return
		}
	}
}

// sorted sorts records by all that they hold.
func (s steps) sorted() []string {
	var lines []string
	for i := range s.records {
		r := s.records[i]
		r.Version = 0 // no digest has it
		r.Has &^= flow.Fields(flow.FieldVersion)
		lines = append(lines, fmt.Sprintf("%+v", r))
	}
	slices.Sort(lines)
	return lines
}

func words(errs []error) []string {
	var all []string
	for _, err := range errs {
		all = append(all, fmt.Sprintf("%T %v", err, err))
	}
	slices.Sort(all)
	return all
}

// randomLine has every field present, absent or at its edge.
func randomLine(rng *rand.Rand) string {
	pick := func(values ...string) string { return values[rng.IntN(len(values))] }
	addr := func() string { return pick("10.0.1.5", "10.0.1.6", "203.0.113.10", "2001:db8::1", "0.0.0.0", "::") }
	port := func() string { return pick("0", "21", "65535", "40000") }
	start := 1795370000 + rng.IntN(300)
	status := pick("OK", "OK", "OK", "OK", "NODATA", "SKIPDATA")
	if status != "OK" {
		return fmt.Sprintf("5 eni-1 - - - - - - - - %d %d - %s - - - - - - - -", start, start+60, status)
	}
	return strings.Join([]string{
		"5", pick("eni-1", "eni-2", "-"), pick("nat-1", "-"), addr(), addr(), pick(port(), "-"), pick(port(), "-"), pick("6", "17", "0", "255"),
		pick("1", "9223372036854775807"), pick("40", "9223372036854775807", "-"), fmt.Sprint(start), fmt.Sprint(start + rng.IntN(60)),
		pick("ACCEPT", "REJECT", "-"), status, pick("vpc-1", "-"), pick("subnet-1", "-"), pick("i-1", "-"),
		pick("0", "2", "18", "255", "-"), pick(addr(), "-"), pick(addr(), "-"), pick("ingress", "egress", "-"), pick("BPA", "EC", "-"),
	}, " ")
}

func randomSteps(t *testing.T, rng *rand.Rand, n int) steps {
	t.Helper()
	var all steps
	for object := range 1 + rng.IntN(3) {
		var b strings.Builder
		fmt.Fprintln(&b, header)
		for range n {
			if rng.IntN(30) == 0 {
				fmt.Fprintln(&b, strings.Replace(randomLine(rng), " eni-1 ", " ", 1), "70000 x")
			}
			fmt.Fprintln(&b, randomLine(rng))
		}
		place := fmt.Sprintf("1_vpcflowlogs_eu-west-1_fl-%d_20261122T1000Z_a.log", object)
		s := collect(ingest.Text(strings.NewReader(b.String()), place, ingest.Options{}))
		all.records = append(all.records, s.records...)
		all.errs = append(all.errs, s.errs...)
	}
	if rng.IntN(2) == 0 {
		all.errs = append(all.errs, &flow.ObjectError{Place: "s3://b/k", Records: 7, Fault: flow.Damaged, Err: errors.New("cut short")})
	}
	return all
}

func write(t *testing.T, s steps) ([]byte, digest.Summary) {
	t.Helper()
	var b bytes.Buffer
	sum, err := digest.Write(&b, s.stream, digest.Source{Place: "s3://b/k", Version: "e"})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sum
}

func read(b []byte) steps {
	return collect(ingest.Parquet(bytes.NewReader(b), int64(len(b)), "d", ingest.Options{}))
}

// What was read comes back: every record with every field, and every error.
// A digest of digests is that of the objects.
func TestComesBack(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(7, seed))
		want := randomSteps(t, rng, []int{0, 1, 10, 700}[seed%4])
		b, sum := write(t, want)
		again, _ := write(t, want)
		if !bytes.Equal(b, again) {
			t.Fatalf("seed %d: the same records gave other bytes", seed)
		}
		got := read(b)
		if !slices.Equal(got.sorted(), want.sorted()) {
			t.Fatalf("seed %d: %d records came back, want %d: %s", seed, len(got.records), len(want.records), difference(got.sorted(), want.sorted()))
		}
		if wantErrs := shortened(want.errs); !slices.Equal(words(got.errs), wantErrs) {
			t.Fatalf("seed %d: got errors %q, want %q", seed, words(got.errs), wantErrs)
		}
		if n := sum.Records + sum.NoData + sum.SkipData; n != int64(len(want.records)) {
			t.Errorf("seed %d: the summary counts %d records, want %d", seed, n, len(want.records))
		}
		second, _ := write(t, got)
		if twice := read(second); !slices.Equal(twice.sorted(), want.sorted()) || len(twice.errs) != len(got.errs) {
			t.Errorf("seed %d: a digest of the digest holds something else", seed)
		}
	}
}

// shortened says of errors what a digest keeps of them.
func shortened(errs []error) []string {
	count := map[string]int{}
	var kept []error
	for _, err := range errs {
		if bad := (*flow.RecordError)(nil); errors.As(err, &bad) {
			count[bad.Place]++
		}
	}
	seen := map[string]int{}
	for _, err := range errs {
		bad := (*flow.RecordError)(nil)
		if !errors.As(err, &bad) {
			kept = append(kept, err)
		} else if seen[bad.Place]++; seen[bad.Place] <= 5 {
			kept = append(kept, err)
		} else {
			kept = append(kept, &flow.RecordError{Place: bad.Place, Err: fmt.Errorf("one of %d bad records, of which the digest names the first 5", count[bad.Place])})
		}
	}
	return words(kept)
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("\n%s\n%s", got[min(i, len(got)-1)], want[min(i, len(want)-1)])
		}
	}
	return ""
}

// A digest takes the records in groups; those of several must come back, too.
func TestManyGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("writes much")
	}
	rng := rand.New(rand.NewPCG(7, 100))
	few := randomSteps(t, rng, 1000)
	var many steps
	for len(many.records) < 150_000 {
		many.records = append(many.records, few.records...)
	}
	b, _ := write(t, many)
	if got := read(b); !slices.Equal(got.sorted(), many.sorted()) {
		t.Fatalf("%d records came back, want %d", len(got.records), len(many.records))
	}
}

func TestStreamError(t *testing.T) {
	gone := errors.New("gone")
	_, err := digest.Write(&bytes.Buffer{}, func(yield func(*flow.Record, error) bool) { yield(nil, gone) })
	if !errors.Is(err, gone) {
		t.Fatalf("got %v, want %v", err, gone)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ value, want string }{
		"newer":     {`{"version":3}`, "update it"},
		"no number": {`{}`, "version 0"},
		"no JSON":   {`x`, "cannot be read"},
		"count":     {`{"version":1,"bad":[{"place":"p","count":-1}]}`, "counts -1"},
		"fault":     {`{"version":1,"broken":[{"place":"p","fault":200}]}`, "fault 200"},
	} {
		if _, err := digest.Parse(c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"version":1,"records":3,"bad":[{"place":"p","count":2,"first":[{"error":"e"}]}],"broken":[{"place":"p","fault":1,"error":"x"}]}`)
	f.Fuzz(func(t *testing.T, value string) {
		s, err := digest.Parse(value)
		if err != nil {
			return
		}
		n := 0
		s.Errors(func(err error) bool {
			n++
			return err.Error() != "" && n < 1000
		})
	})
}

func TestName(t *testing.T) {
	const object = "logs/AWSLogs/1/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz"
	name := digest.Name(object, `"9f86d081-2"`)
	if want := object + ".9f86d081-2.digest.parquet"; name != want || !digest.IsName(name) || digest.IsName(object) {
		t.Fatalf("got %s, want %s", name, want)
	}
	got, ok := ingest.ParseName(name)
	if want, _ := ingest.ParseName(object); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("the digest's name says %v, that of its object %v", got, want)
	}
	if cmp.Compare(digest.Name("a", "x/../y"), "a.x----y.digest.parquet") != 0 {
		t.Error("a version makes folders")
	}
}
