package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/parquet-go/parquet-go"

	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/ingest/sourcetest"
)

// history is a bucket that makes up its keys: four flow logs that deliver
// every five minutes, for some days.
type history struct {
	API
	days int
}

const perDay = 288 * 4

func (h history) first() time.Time { return day0.AddDate(0, 0, -h.days) }

func (h history) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out := &s3.ListObjectsV2Output{IsTruncated: new(false)}
	folders := func(names ...string) {
		last := ""
		for _, name := range names {
			if name != last {
				out.CommonPrefixes = append(out.CommonPrefixes, types.CommonPrefix{Prefix: aws.String(*in.Prefix + name + "/")})
			}
			last = name
		}
	}
	above := strings.Split(strings.TrimSuffix(*in.Prefix, "/"), "/")
	if len(above) < 4 {
		folders([]string{"111111111111", "vpcflowlogs", "us-east-1"}[len(above)-1])
		return out, ctx.Err()
	}
	var names []string
	for d := range h.days {
		day := h.first().AddDate(0, 0, d).Format("2006/01/02")
		if rest, ok := strings.CutPrefix(day+"/", strings.Join(append(above[4:], ""), "/")); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	if len(above) < 7 {
		folders(names...)
		return out, ctx.Err()
	}
	day, err := time.Parse("2006/01/02", strings.Join(above[4:7], "/"))
	if err != nil {
		return nil, err
	}
	begin := 0
	if in.ContinuationToken != nil {
		begin = perDay / 2
	} else {
		out.IsTruncated, out.NextContinuationToken = new(true), new("second half")
	}
	for i := begin; i < begin+perDay/2; i++ {
		key := *in.Prefix + fmt.Sprintf("111111111111_vpcflowlogs_us-east-1_fl-%08d_%s_%08x.log.gz", i/288, day.Add(time.Duration(i%288)*5*time.Minute).Format("20060102T1504Z"), i)
		out.Contents = append(out.Contents, types.Object{Key: &key, Size: new(int64(1000)), ETag: new(fmt.Sprintf("%032x", i))})
	}
	return out, ctx.Err()
}

// held lists the history of so many days, and gives the most memory that was
// held at a time.
func held(t *testing.T, days int) uint64 {
	t.Helper()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	o, err := New(history{days: days}, Options{}).Find(t.Context(), []string{"s3://b/AWSLogs/"}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	most := uint64(0)
	n := 0
	var last int64
	for object, err := range o.All(t.Context()) {
		if err != nil || object.Start < last {
			t.Fatalf("object %d: start %d behind %d, %v", n, object.Start, last, err)
		}
		last = object.Start
		if n++; n%(days*perDay/20) == 0 {
			most = max(most, inUse())
			if share := o.Listed().Share; math.Abs(share-float64(n)/float64(days*perDay)) > 0.1 {
				t.Errorf("object %d of %d: share %v is listed", n, days*perDay, share)
			}
		}
	}
	if n != days*perDay {
		t.Fatalf("got %d objects, want %d", n, days*perDay)
	}
	return most - min(most, before)
}

// Memory does not grow with the length of the history.
func TestListMemory(t *testing.T) {
	few, many := held(t, 36), held(t, 365)
	t.Logf("36 days hold %d KiB, 365 days %d KiB", few>>10, many>>10)
	const day = perDay * 400 // bytes; two or three of them are in use
	if max(few, many) > 8*day {
		t.Errorf("36 days hold %d bytes, 365 days %d, want at most those of 8 days: %d", few, many, 8*day)
	}
}

// A bucket in another region is found there, whether the server tells the
// region in its answer to listing or only to HEAD.
func TestRegion(t *testing.T) {
	testRegion(t, http.MethodGet, "GET GET")
	testRegion(t, http.MethodHead, "GET HEAD GET")
}

func testRegion(t *testing.T, tells, want string) {
	t.Helper()
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method)
		w.Header().Set("Content-Type", "application/xml")
		if strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/") {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.log</Key><Size>1</Size></Contents></ListBucketResult>`)
			return
		}
		if r.Method == tells {
			w.Header().Set("x-amz-bucket-region", "eu-central-1")
		}
		w.WriteHeader(http.StatusMovedPermanently)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `<Error><Code>PermanentRedirect</Code><Message>Use the specified endpoint.</Message></Error>`)
		}
	}))
	defer server.Close()
	o, err := New(staticClient(server.URL), Options{PathStyle: true}).Find(t.Context(), []string{"s3://logs"}, ingest.Options{})
	if err != nil || len(o.flat) != 1 {
		t.Errorf("told by %s: got %v, %v", tells, o, err)
	}
	if got := strings.Join(requests, " "); got != want {
		t.Errorf("told by %s: requests %s, want %s", tells, got, want)
	}
}

func staticClient(url string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &url, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, nil
		}),
	})
}

// What asking again does not mend is not asked again.
func TestFinalErrors(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>`)
	}))
	defer server.Close()
	elsewhere := httptest.NewTLSServer(http.NotFoundHandler())
	defer elsewhere.Close()
	for _, test := range []struct {
		change func(*s3.Options)
		want   string
	}{
		{func(*s3.Options) {}, "s3://logs/: the credentials are refused (ExpiredToken: The provided token has expired); renew them, or choose others with --profile"},
		{func(o *s3.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("no profile of that name")
			})
		}, "s3://logs/: listing failed: get identity: get credentials: no profile of that name"},
		{func(o *s3.Options) { o.Region, o.BaseEndpoint = "", nil }, "listing failed: failed to resolve service endpoint, endpoint rule error, A region must be set"},
		{func(o *s3.Options) { o.BaseEndpoint = &elsewhere.URL }, "certificate"},
	} {
		s := New(s3.New(staticClient(server.URL).Options(), test.change), Options{PathStyle: true})
		s.backoff = time.Hour
		_, err := s.Find(t.Context(), []string{"s3://logs/"}, ingest.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests with an expired token, want 1", requests)
	}
}

// Of a large Parquet file, the wanted columns are transferred, and little
// besides.
func TestParquetTransfers(t *testing.T) {
	type wide struct {
		SrcAddr string `parquet:"srcaddr,plain"`
		DstAddr string `parquet:"dstaddr,plain"`
		Bytes   int64  `parquet:"bytes,plain"`
		End     int64  `parquet:"end,plain"`
		Tag     string `parquet:"instance_tag,plain"`
	}
	const n = 200_000
	tag := strings.Repeat("x", 280)
	all := make([]wide, n)
	for i := range all {
		all[i] = wide{"10.0.0.1", "10.0.0.2", int64(i), day0.Unix() + int64(i%300), tag}
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[wide](&b, parquet.MaxRowsPerRowGroup(n/4))
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	f.put(strings.TrimSuffix(layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0, "x"), ".log.gz")+".log.parquet", b.Bytes())
	opts := ingest.Options{Want: flow.Fields(flow.FieldBytes)}
	records := 0
	for rec, err := range ingest.Join(opts, find(t, f, opts, "")).Records(t.Context()) {
		if err != nil || rec.Bytes != uint64(records) {
			t.Fatalf("record %d: %+v, %v", records, rec, err)
		}
		records++
	}
	wanted := int64(n * 16) // bytes and end
	gets, sent, _ := f.stats()
	t.Logf("%d of %d bytes in %d requests", sent, b.Len(), gets)
	if records != n || b.Len() < 50<<20 || sent > wanted+wanted/4 || gets > 40 {
		t.Errorf("%d records, %d of %d bytes in %d requests; two columns of %d bytes are wanted", records, sent, b.Len(), gets, wanted)
	}
}

func TestConformance(t *testing.T) {
	f := newFake()
	for i := range 60 {
		at := day0.Add(time.Duration(i) * 45 * time.Minute)
		log := "end srcport\n"
		for j := range 10 {
			log += fmt.Sprintln(at.Unix()+int64(j*17%300), j)
		}
		if i == 30 {
			log += "x y\n"
		}
		f.put(layouts[i%4].key("", "111111111111", "us-east-1", "fl-0a", at, "x"), []byte(log))
	}
	broken := f.keys[7]
	f.get = func(in *s3.GetObjectInput) error {
		if *in.Key == broken {
			return apiError(403, "AccessDenied", "Access Denied")
		}
		return nil
	}
	sourcetest.Run(t, func(t *testing.T) ingest.Source {
		return ingest.Join(ingest.Options{}, find(t, f, ingest.Options{}, ""))
	}, sourcetest.Want{Records: 590, RecordErrors: 1, ObjectErrors: 1, Disorder: 300})
}
