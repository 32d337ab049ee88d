package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// layout is one of the ways in which AWS names folders.
type layout struct{ hive, hourly bool }

var layouts = []layout{{false, false}, {false, true}, {true, false}, {true, true}}

func (l layout) key(prefix, account, region, flowLog string, at time.Time, hash string) string {
	folders, hour := "%s/vpcflowlogs/%s/2006/01/02/", "15/"
	if l.hive {
		folders, hour = "aws-account-id=%s/aws-service=vpcflowlogs/aws-region=%s/year=2006/month=01/day=02/", "hour=15/"
	}
	if !l.hourly {
		hour = ""
	}
	// Account and region stay out of the time's pattern.
	head, pattern, _ := strings.Cut(folders, "2006")
	year := "2006"
	if l.hive {
		head, pattern, _ = strings.Cut(folders, "year=")
		pattern, year = strings.TrimPrefix(pattern, "2006"), "year=2006"
	}
	return prefix + "AWSLogs/" + fmt.Sprintf(head, account, region) + at.Format(year+pattern+hour) +
		fmt.Sprintf("%s_vpcflowlogs_%s_%s_%s_%s.log.gz", account, region, flowLog, at.Format("20060102T1504Z"), hash)
}

var day0 = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// list collects what All yields: keys, and "! " with errors.
func list(t *testing.T, o *Objects) (all []string) {
	t.Helper()
	for object, err := range o.All(t.Context()) {
		if err != nil {
			all = append(all, "! "+err.Error())
		} else {
			all = append(all, strings.TrimPrefix(object.Place, "s3://b/"))
		}
	}
	return all
}

func find(t *testing.T, f *fake, opts ingest.Options, places ...string) *Objects {
	t.Helper()
	for i := range places {
		places[i] = "s3://b/" + places[i]
	}
	o, err := testStore(f, Options{}).Find(t.Context(), places, opts)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// oracle is what All should yield: the keys that begin so, in the time
// window, by time and key.
func oracle(f *fake, prefix string, opts ingest.Options) (all []string) {
	for _, key := range f.keys {
		name, ok := ingest.ParseName(key)
		if strings.HasPrefix(key, prefix) && ok && name.MayHold(opts.From, opts.To) {
			all = append(all, key)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int {
		x, _ := ingest.ParseName(a)
		y, _ := ingest.ParseName(b)
		return x.Time.Compare(y.Time)
	})
	return all
}

// randomTree puts objects of random layouts, and what lies beside them.
func randomTree(rnd *rand.Rand, n int) *fake {
	f := newFake()
	prefixes := []string{"", "team/a/", "team/b/", "x/"}[:1+rnd.IntN(4)]
	type owner struct {
		layout                   layout
		prefix, account, flowLog string
		region                   string
	}
	var owners []owner
	for range 1 + rnd.IntN(6) {
		owners = append(owners, owner{
			layouts[rnd.IntN(len(layouts))], prefixes[rnd.IntN(len(prefixes))],
			[]string{"111111111111", "222222222222"}[rnd.IntN(2)], []string{"fl-0a", "fl-0b"}[rnd.IntN(2)],
			[]string{"us-east-1", "eu-west-1"}[rnd.IntN(2)],
		})
	}
	span := 1 + rnd.IntN(60*24*12) // in five minutes
	for range n {
		o := owners[rnd.IntN(len(owners))]
		at := day0.AddDate(0, 0, -45).Add(time.Duration(rnd.IntN(span)) * 5 * time.Minute)
		f.put(o.layout.key(o.prefix, o.account, o.region, o.flowLog, at, fmt.Sprintf("%08x", rnd.Uint32())), []byte("x"))
	}
	for _, o := range owners {
		tree := o.prefix + "AWSLogs/"
		f.put(tree+o.account+"/CloudTrail/us-east-1/2026/11/22/trail.json.gz", []byte("x"))
		f.put(tree+o.account+"/elasticloadbalancing/us-east-1/2026/11/22/elb.log", []byte("x"))
		f.put(tree+"aws-logs-write-test", []byte("x"))
		f.put(tree+o.account+"/", nil)
	}
	f.page = 1 + rnd.IntN(7)
	return f
}

// somePrefix is the beginning of one of the keys.
func somePrefix(rnd *rand.Rand, f *fake) string {
	for {
		key := f.keys[rnd.IntN(len(f.keys))]
		if _, ok := ingest.ParseName(key); !ok {
			continue
		}
		switch rnd.IntN(4) {
		case 0:
			return ""
		case 1:
			return key[:rnd.IntN(len(key)+1)] // anywhere
		}
		for range rnd.IntN(10) {
			key = path.Dir(key)
		}
		if key == "." {
			return ""
		}
		return key + []string{"", "/"}[rnd.IntN(2)]
	}
}

// meaning is the prefix that a place stands for.
func meaning(f *fake, prefix string) string {
	if slices.ContainsFunc(f.keys, func(key string) bool { return strings.HasPrefix(key, strings.TrimSuffix(prefix, "/")+"/") }) && prefix != "" {
		return strings.TrimSuffix(prefix, "/") + "/"
	}
	return prefix
}

func TestListOracle(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		f := randomTree(rnd, 1+rnd.IntN(300))
		prefix := strings.TrimSuffix(somePrefix(rnd, f), "/")
		if f.content[prefix] == nil && rnd.IntN(2) == 0 && meaning(f, prefix) != prefix {
			prefix += "/"
		}
		var opts ingest.Options
		if rnd.IntN(2) == 0 {
			opts.From = day0.AddDate(0, 0, -rnd.IntN(50)).Add(time.Duration(rnd.IntN(86400)) * time.Second)
		}
		if rnd.IntN(2) == 0 {
			opts.To = day0.AddDate(0, 0, -rnd.IntN(50)).Add(time.Duration(rnd.IntN(86400)) * time.Second)
		}
		want := oracle(f, meaning(f, prefix), opts)
		o, err := testStore(f, Options{}).Find(t.Context(), []string{"s3://b/" + prefix}, opts)
		if err != nil {
			if len(want) > 0 || !strings.Contains(err.Error(), "nothing under s3://b/"+prefix) {
				t.Fatalf("seed %d, s3://b/%s: %v, want %d objects", seed, prefix, err, len(want))
			}
			continue
		}
		if !o.Ordered() {
			t.Fatalf("seed %d, s3://b/%s: not ordered", seed, prefix)
		}
		for range 2 { // the first run goes on where Find stopped, the second starts anew
			if got := list(t, o); !slices.Equal(got, want) {
				t.Logf("seed %d, s3://b/%s, from %v to %v", seed, prefix, opts.From, opts.To)
				diff(t, got, want)
			}
			if l := o.Listed(); l.Objects != len(want) || l.Bytes != int64(len(want)) || l.Share != 1 {
				t.Fatalf("seed %d: listed %+v, want %d objects", seed, l, len(want))
			}
		}
	}
}

// Several places, overlapping, give each object once.
func TestListPlaces(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		f := randomTree(rnd, 100)
		var places []string
		want := make(map[string]bool)
		for range 1 + rnd.IntN(4) {
			prefix := somePrefix(rnd, f)
			if f.content[strings.TrimSuffix(prefix, "/")] != nil {
				prefix = strings.TrimSuffix(prefix, "/")
			}
			places = append(places, prefix)
			for _, key := range oracle(f, meaning(f, prefix), ingest.Options{}) {
				want[key] = true
			}
		}
		var inOrder []string
		for _, key := range oracle(f, "", ingest.Options{}) {
			if want[key] {
				inOrder = append(inOrder, key)
			}
		}
		t.Logf("seed %d: %q", seed, places)
		diff(t, list(t, find(t, f, ingest.Options{}, places...)), inOrder)
	}
}

func TestListPrunes(t *testing.T) {
	for _, l := range layouts {
		f := newFake()
		for d := range 400 {
			for h := range 24 {
				f.put(l.key("", "111111111111", "us-east-1", "fl-0a", day0.AddDate(0, 0, -d).Add(time.Duration(h)*time.Hour), "x"), []byte("x"))
			}
		}
		opts := ingest.Options{From: day0.Add(10 * time.Hour), To: day0.Add(12 * time.Hour)}
		f.put("AWSLogs/111111111111/CloudTrail/us-east-1/2026/11/22/trail.json.gz", []byte("x"))
		got := list(t, find(t, f, opts, ""))
		diff(t, got, oracle(f, "", opts))
		// The bucket, AWSLogs, accounts (a Hive one and another), service,
		// region, year, month, day, and of hours at most four.
		if len(f.listed) > 13 {
			t.Errorf("%+v: listed %q", l, f.listed)
		}
		for _, prefix := range f.listed {
			if strings.Contains(prefix, "CloudTrail") || strings.Contains(prefix, "2025") || strings.HasSuffix(prefix, "21/*") {
				t.Errorf("%+v: listed %s", l, prefix)
			}
		}
	}
}

func TestListOutsideTrees(t *testing.T) {
	const header = "start end\n"
	f := newFake()
	for i, key := range []string{
		"security/aws/VPC_FLOW/2.0/region=us-east-1/accountId=1/eventDay=20261120/a.gz.parquet",
		"security/aws/VPC_FLOW/2.0/region=us-east-1/accountId=1/eventDay=20261122/b.gz.parquet",
		"firehose/2026/11/20/05/c",
		"firehose/2026/11/22/06/d",
		"copies/e.log",
		"copies/_SUCCESS",
		"copies/q.csv.metadata",
		"copies/sub/",
		"exports/task/eni-0a-all/000000.gz",
	} {
		text := fmt.Sprintf("%s%d %d\n", header, day0.Unix()-int64(i), day0.Unix()-int64(i))
		if strings.HasSuffix(key, "/") {
			text = ""
		}
		f.put(key, []byte(text))
	}
	for _, test := range []struct {
		place string
		opts  ingest.Options
		want  string
	}{
		{"copies", ingest.Options{}, "copies/e.log"},
		{"copies/e.log", ingest.Options{}, "copies/e.log"},
		{"firehose/", ingest.Options{}, "firehose/2026/11/22/06/d firehose/2026/11/20/05/c"},
		{"firehose/", ingest.Options{From: day0.Add(time.Hour)}, "firehose/2026/11/22/06/d"},
		{"firehose/", ingest.Options{To: day0.AddDate(0, 0, -2).Add(12 * time.Hour)}, "firehose/2026/11/20/05/c"},
		{"security", ingest.Options{From: day0.Add(time.Hour)}, "security/aws/VPC_FLOW/2.0/region=us-east-1/accountId=1/eventDay=20261122/b.gz.parquet"},
		{"exports/task/", ingest.Options{}, "exports/task/eni-0a-all/000000.gz"},
		{"c", ingest.Options{}, "copies/e.log"},
	} {
		o := find(t, f, test.opts, test.place)
		if got := strings.Join(list(t, o), " "); got != test.want {
			t.Errorf("s3://b/%s: got %s, want %s", test.place, got, test.want)
		}
		if o.Ordered() {
			t.Errorf("s3://b/%s: ordered, though names tell no times", test.place)
		}
	}
}

func TestListErrors(t *testing.T) {
	key := layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0, "x")
	denied := apiError(403, "AccessDenied", "User: arn:aws:iam::1:user/u is not authorized to perform: s3:ListBucket")
	for _, test := range []struct {
		place string
		fail  error
		opts  ingest.Options
		want  string
	}{
		{"s3://", nil, ingest.Options{}, "s3://: this is no place in S3; write s3://BUCKET/PREFIX"},
		{"b/x", nil, ingest.Options{}, "b/x: this is no place in S3"},
		{"s3://a:b/x", nil, ingest.Options{}, `s3://a:b/x: "a:b" is no name of a bucket`},
		{"s3://none/x", nil, ingest.Options{}, "s3://none: there is no such bucket; check its name"},
		{"s3://b/AWSLog/", nil, ingest.Options{}, "nothing under s3://b/AWSLog/; check the prefix"},
		{"s3://b/nothing", nil, ingest.Options{}, "nothing under s3://b/nothing; check the prefix"},
		{"s3://b/AWSLogs/222222222222/", nil, ingest.Options{}, "s3://b/AWSLogs/222222222222/ holds no flow logs; in s3://b/AWSLogs/222222222222/ only the flow logs are read, not CloudTrail/"},
		{"s3://b/AWSLogs/222222222222/CloudTrail", nil, ingest.Options{}, "holds no flow logs; objects passed over: 1 of CloudTrail"},
		{"s3://b/AWSLogs", denied, ingest.Options{}, "s3://b/AWSLogs: listing is denied (AccessDenied: User: arn:aws:iam::1:user/u is not authorized to perform: s3:ListBucket); allow s3:ListBucket on arn:aws:s3:::b, see docs/iam.md"},
		{"s3://b/", errors.New("dial tcp: no route to host"), ingest.Options{}, "s3://b/: listing failed: dial tcp: no route to host"},
	} {
		f := newFake(key, "AWSLogs/222222222222/CloudTrail/us-east-1/2026/x")
		if test.fail != nil {
			f.list = func(*s3.ListObjectsV2Input) error { return test.fail }
		}
		_, err := testStore(f, Options{}).Find(t.Context(), []string{test.place}, test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.place, err, test.want)
		}
	}
}

// A time in which nothing was logged is no error, and is told.
func TestNothingInTheTime(t *testing.T) {
	for _, test := range []struct {
		opts ingest.Options
		want string
	}{
		{ingest.Options{To: day0.AddDate(0, 0, -1)}, "nothing before 2026-11-21T00:00:00Z; check --from and --to"},
		{ingest.Options{From: day0.AddDate(2, 0, 0), To: day0.AddDate(3, 0, 0)}, "nothing between 2028-11-22T00:00:00Z and 2029-11-22T00:00:00Z; check --from and --to"},
	} {
		f := newFake(layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0, "x"))
		o, err := testStore(f, Options{}).Find(t.Context(), []string{"s3://b"}, test.opts)
		if err != nil {
			t.Fatal(err)
		}
		if n := o.Notes(); len(n) != 1 || n[0] != (Note{Place: "s3://b", Text: test.want}) {
			t.Errorf("got notes %v, want %s", n, test.want)
		}
		for object, err := range o.All(t.Context()) {
			t.Errorf("got %s, %v, want nothing", object.Place, err)
		}
	}
}

// A series that cannot be listed to its end is named, and the others go on.
func TestListBreaks(t *testing.T) {
	f := newFake()
	for d := range 5 {
		for _, account := range []string{"111111111111", "222222222222"} {
			f.put(layout{}.key("", account, "us-east-1", "fl-0a", day0.AddDate(0, 0, d), "x"), []byte("x"))
		}
	}
	const broken = "AWSLogs/111111111111/vpcflowlogs/us-east-1/2026/11/24/"
	for _, test := range []struct {
		err   error
		fault flow.Fault
	}{
		{apiError(403, "AccessDenied", "Access Denied"), flow.Denied},
		{apiError(503, "SlowDown", "Please reduce your request rate"), flow.Unreachable},
	} {
		f.list = func(in *s3.ListObjectsV2Input) error {
			if *in.Prefix == broken {
				return test.err
			}
			return nil
		}
		o := find(t, f, ingest.Options{}, "")
		var got []string
		for object, err := range o.All(t.Context()) {
			var known *flow.ObjectError
			switch {
			case err == nil:
				got = append(got, object.Place)
			case !errors.As(err, &known) || known.Place != "s3://b/"+broken || known.Fault != test.fault:
				t.Errorf("got %v, want fault %v of s3://b/%s", err, test.fault, broken)
			default:
				got = append(got, "!")
			}
		}
		if len(got) != 8 || got[4] != "!" {
			t.Errorf("got %q, want two days of both, and an error in front of the other days of one", got)
		}
		if share := o.Listed().Share; share != 1 {
			t.Errorf("share %v at the end", share)
		}
	}
}

func TestListNotes(t *testing.T) {
	f := newFake(layout{}.key("logs/", "111111111111", "us-east-1", "fl-0a", day0, "x"),
		"logs/AWSLogs/111111111111/CloudTrail/x", "logs/other/a.log", "logs/b.log")
	o := find(t, f, ingest.Options{}, "logs")
	diff(t, o.Notes(), []Note{
		{"s3://b/logs", "only what lies in folders AWSLogs is read, not s3://b/logs/b.log, s3://b/logs/other/a.log; give these by themselves if they hold flow logs", false},
		{"s3://b/logs/AWSLogs/111111111111/", "in s3://b/logs/AWSLogs/111111111111/ only the flow logs are read, not CloudTrail/", true},
	})
}

// Objects in a tree whose names do not tell the time end the promise of
// order when they are seen in time, and are errors when they are not.
func TestListUnnamed(t *testing.T) {
	first := layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0, "x")
	second := layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0.AddDate(0, 0, 1), "x")
	merged := path.Dir(second) + "/merged.parquet"
	stray := path.Dir(path.Dir(first)) + "/stray.log"
	f := newFake(first, second, merged, stray)
	o := find(t, f, ingest.Options{}, "")
	got := list(t, o)
	if !o.Ordered() || len(got) != 4 || !strings.HasPrefix(got[0], "! s3://b/"+path.Dir(path.Dir(first))+"/: what lies here and in no folder of a day is not read: stray.log") ||
		!strings.HasPrefix(got[3], "! s3://b/"+merged+": its name does not tell the time") {
		t.Errorf("ordered %v, got %q", o.Ordered(), got)
	}
	f.put(path.Dir(first)+"/merged.parquet", []byte("x"))
	if o = find(t, f, ingest.Options{}, path.Dir(path.Dir(path.Dir(first)))); o.Ordered() {
		t.Error("ordered, with an object that has no time in its name")
	}
	if got = list(t, o); !slices.Contains(got, merged) {
		t.Errorf("got %q, want %s", got, merged)
	}
	// Given by itself, it is read once.
	if got := list(t, find(t, f, ingest.Options{}, "", merged)); len(got) != 5 || !slices.Contains(got, merged) {
		t.Errorf("got %q", got)
	}
}

func TestListArchived(t *testing.T) {
	f := newFake("a", "b", "c", "d")
	for key, change := range map[string]func(*types.Object){
		"a": func(o *types.Object) { o.StorageClass = types.ObjectStorageClassDeepArchive },
		"b": func(o *types.Object) {
			o.StorageClass = types.ObjectStorageClassGlacier
			o.RestoreStatus = &types.RestoreStatus{IsRestoreInProgress: new(true)}
		},
		"c": func(o *types.Object) {
			o.StorageClass = types.ObjectStorageClassGlacier
			o.RestoreStatus = &types.RestoreStatus{IsRestoreInProgress: new(false), RestoreExpiryDate: new(day0)}
		},
		"d": func(o *types.Object) { o.StorageClass = types.ObjectStorageClassGlacierIr },
	} {
		object := f.objects[key]
		change(&object)
		f.objects[key] = object
	}
	want := map[string]string{
		"s3://b/a": "it is archived (DEEP_ARCHIVE); restore it", "s3://b/b": "it is being restored from the archive (GLACIER); run again", "s3://b/c": "", "s3://b/d": "",
	}
	for object := range find(t, f, ingest.Options{}, "").All(t.Context()) {
		r, err := object.Open(t.Context())
		if err == nil {
			r.Close()
		}
		var known *flow.ObjectError
		if text := want[object.Place]; (err == nil) != (text == "") || err != nil && (!errors.As(err, &known) || known.Fault != flow.Archived || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s: got %v, want %q", object.Place, err, text)
		}
	}
	if gets, _, _ := f.stats(); gets > 4 {
		t.Errorf("%d requests", gets)
	}
}

func TestListCancelled(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	f := randomTree(rnd, 300)
	o := find(t, f, ingest.Options{}, "")
	for limit := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		var last error
		for _, err := range o.All(ctx) {
			if last = err; n == limit {
				cancel()
			}
			n++
		}
		cancel()
		if !errors.Is(last, context.Canceled) || n > limit+2 {
			t.Fatalf("cancelled after %d: got %d, the last %v", limit, n, last)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := testStore(f, Options{}).Find(ctx, []string{"s3://b/"}, ingest.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Find: got %v, want context.Canceled", err)
	}
}
