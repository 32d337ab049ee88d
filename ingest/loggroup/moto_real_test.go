//go:build real

package loggroup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"ephemera/ingest"
	"ephemera/ingest/sourcetest"
)

// asDocumented stands in front of moto and makes its answers to
// FilterLogEvents those of the API Reference, where moto 5.2 differs: it
// does not sort across streams unless asked for the old parameter
// interleaved, passes over logStreamNamePrefix, has pages of 10,000 events
// however large they are, and no page that is empty or partly full and has a
// successor. What moto does as documented, and is relied on: both ends of the
// time range are inclusive, tokens lead on, a missing group is an error, and
// PutLogEvents refuses events older than 14 days. It passes over
// logGroupNamePattern, too, so any group is like any other.
type asDocumented struct {
	moto   string
	client *cloudwatchlogs.Client // of moto
	n      atomic.Uint64
}

func (a *asDocumented) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".FilterLogEvents") {
		a.pass(w, r, body)
		return
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, "SerializationException", err.Error())
		return
	}
	in["interleaved"] = true
	if prefix, ok := in["logStreamNamePrefix"]; ok {
		in["logStreamNames"] = a.streams(r.Context(), in["logGroupName"].(string), prefix.(string))
	}
	// A token of an empty page is moto's own, with a mark that is taken off,
	// or no token at all.
	token, _ := in["nextToken"].(string)
	token, marked := strings.CutPrefix(token, "empty/")
	if marked {
		in["nextToken"] = token
		if token == "" {
			delete(in, "nextToken")
		}
	}
	n := a.n.Add(1)
	if !marked && n%4 == 0 {
		respond(w, map[string]any{"events": []any{}, "nextToken": "empty/" + token})
		return
	}
	// About 7,000 lines are 1 MB.
	if _, limited := in["limit"]; !limited {
		in["limit"] = 7000 - 1000*(n%3)
	}
	body, _ = json.Marshal(in)
	a.pass(w, r, body)
}

func (a *asDocumented) streams(ctx context.Context, group, prefix string) []string {
	names := []string{"no such stream"} // so that none is not all
	pages := cloudwatchlogs.NewDescribeLogStreamsPaginator(a.client, &cloudwatchlogs.DescribeLogStreamsInput{
		LogGroupName: &group, LogStreamNamePrefix: &prefix,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			break
		}
		for _, s := range page.LogStreams {
			names = append(names, *s.LogStreamName)
		}
	}
	return names
}

func (a *asDocumented) pass(w http.ResponseWriter, r *http.Request, body []byte) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, a.moto+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	req.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

// put puts events into streams of a new group, as AWS's limits have it: in
// the order of time, at most 10,000 or 1 MB at once.
func put(t *testing.T, client *cloudwatchlogs.Client, group string, events []fakeEvent) {
	t.Helper()
	ctx := t.Context()
	if _, err := client.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		t.Fatal(err)
	}
	streams := map[string][]types.InputLogEvent{}
	for _, e := range events {
		streams[e.Stream] = append(streams[e.Stream], types.InputLogEvent{Timestamp: aws.Int64(e.Time), Message: aws.String(e.Message)})
	}
	for stream, events := range streams {
		if _, err := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
			t.Fatal(err)
		}
		for batch := range slices.Chunk(events, 7000) {
			out, err := client.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: batch})
			if err != nil || out.RejectedLogEventsInfo != nil {
				t.Fatalf("PutLogEvents: %v, rejected %+v", err, out.RejectedLogEventsInfo)
			}
		}
	}
}

// recent gives n records of the last hours, in the order of time.
func recent(n int) []fakeEvent {
	rng := rand.New(rand.NewPCG(10, 10))
	start := time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	var events []fakeEvent
	for i := range n {
		at := start.Add(time.Duration(i) * 5 * time.Hour / time.Duration(n)).Truncate(time.Second)
		events = append(events, event(at, rng.IntN(12), rng.IntN(600), i))
	}
	return events
}

func TestMoto(t *testing.T) {
	address := sourcetest.Moto(t)
	direct := clientOf(address, false)
	proxy := httptest.NewServer(&asDocumented{moto: address, client: direct})
	t.Cleanup(proxy.Close)
	client := newClient(clientOf(proxy.URL, false))
	opts := ingest.Options{Format: format(t, "default")}
	find := func(t *testing.T, client API, place string, opts ingest.Options) *Group {
		t.Helper()
		g, err := Find(t.Context(), client, place, Options{Pace: quick()}, opts)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}

	t.Run("more than 100,000 events", func(t *testing.T) {
		const n = 120_000
		events := recent(n)
		put(t, direct, "big", events)
		// The file holds the same lines. Of events of one time, which stream
		// comes first is up to the server, so records are compared by time
		// and, within it, in any order.
		var text strings.Builder
		for _, e := range events {
			text.WriteString(e.Message + "\n")
		}
		file := filepath.Join(t.TempDir(), "same.log")
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got := spelled(t, ingest.Join(opts, find(t, client, "cloudwatch:big", opts)))
		t.Logf("%d events in %v", len(got), time.Since(began))
		local, err := ingest.Open([]string{file}, opts)
		if err != nil {
			t.Fatal(err)
		}
		want := spelled(t, local)
		for i := 0; i < len(events) && len(got) == len(want); {
			j := i
			for j < len(events) && events[j].Time == events[i].Time {
				j++
			}
			slices.Sort(got[i:j])
			slices.Sort(want[i:j])
			i = j
		}
		checkSame(t, got, want)

		t.Run("a stream, part of the time", func(t *testing.T) {
			opts := opts
			opts.From, opts.To = time.Now().Add(-4*time.Hour), time.Now().Add(-3*time.Hour)
			got := spelled(t, ingest.Join(opts, find(t, client, "cloudwatch:big:eni-0003", opts)))
			want := flat(t, events, "eni-0003", opts)
			slices.Sort(got)
			slices.Sort(want)
			checkSame(t, got, want)
		})
	})

	t.Run("conformance", func(t *testing.T) {
		events := recent(3000)
		for i := range 10 {
			events[i*200].Message = fmt.Sprintf(`{"n": %d}`, i)
		}
		put(t, direct, "mixed", events)
		lonely := newClient(clientOf(proxy.URL, true))
		sourcetest.Run(t, func(t *testing.T) ingest.Source {
			return ingest.Join(opts, find(t, lonely, "cloudwatch:mixed", opts))
		}, sourcetest.Want{Records: 2990, RecordErrors: 10, Disorder: 660})
	})

	t.Run("errors", func(t *testing.T) {
		_, err := Find(t.Context(), direct, "cloudwatch:bi", Options{Pace: quick()}, opts)
		checkError(t, err, "cloudwatch:bi: no such log group; check the name, and the region (--region); there are big")
		_, err = Find(t.Context(), client, "cloudwatch:big:eni-ffff", Options{Pace: quick()}, opts)
		checkError(t, err, `no stream whose name begins with "eni-ffff"`)
	})
}
