package loggroup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// fake serves one log group over the API's JSON protocol, so that the SDK's
// own client, with its retries, is under test. It follows the API Reference
// of FilterLogEvents: events in the order of their times across streams,
// startTime and endTime inclusive, pages of up to 1 MB or pageEvents, pages
// that are partly full or empty and have a successor, tokens that are good
// for the query they came from. What goes wrong, and how often, is chosen by
// seed; the pages of a query are always the same.
type fake struct {
	t          testing.TB
	group      string
	events     []fakeEvent // in the order of time
	created    int64       // creationTime
	retention  int         // retentionInDays
	pageEvents int
	seed       uint64

	// How often something happens, from 0 to 1.
	emptyPage, shortPage, throttled, failing, cut, expired float64

	// lonely closes each connection behind its answer, so that goroutines
	// can be counted.
	lonely bool

	// answer replaces the answer of a call, when it returns true.
	answer func(w http.ResponseWriter, call string, in *request) bool

	mu    sync.Mutex
	rng   *rand.Rand
	calls map[string]int
	times []time.Time // of FilterLogEvents
	asked []string    // of it
	bad   []string    // tokens that have expired
}

type fakeEvent struct {
	ID      string `json:"eventId"`
	Stream  string `json:"logStreamName"`
	Time    int64  `json:"timestamp"`
	Ingest  int64  `json:"ingestionTime"`
	Message string `json:"message"`
}

// request has the members of all requests that are served.
type request struct {
	LogGroupName, LogGroupIdentifier             *string
	LogStreamNamePrefix                          string
	LogGroupNamePrefix, LogGroupNamePattern      string
	StartTime, EndTime                           *int64
	Limit                                        int
	NextToken                                    string
	Interleaved, LogStreamNames, OrderBy, Unmask any
}

// newFake serves events, in any order. The events get IDs.
func newFake(t testing.TB, events []fakeEvent) *fake {
	f := &fake{t: t, group: "vpc-flow-logs", pageEvents: 10_000, calls: map[string]int{}, rng: rand.New(rand.NewPCG(1, 2))}
	f.events = slices.Clone(events)
	slices.SortStableFunc(f.events, func(a, b fakeEvent) int { return cmp.Compare(a.Time, b.Time) })
	for i := range f.events {
		f.events[i].ID = fmt.Sprintf("%056d", i+1)
		f.events[i].Ingest = f.events[i].Time + 300_000
	}
	if len(f.events) > 0 {
		f.created = f.events[0].Time
	}
	return f
}

// client starts the fake and returns a client for it, that does not pause
// between attempts.
func (f *fake) client() API {
	server := httptest.NewServer(f)
	f.t.Cleanup(server.Close)
	return newClient(clientOf(server.URL, f.lonely))
}

func clientOf(url string, lonely bool) *cloudwatchlogs.Client {
	return cloudwatchlogs.New(cloudwatchlogs.Options{
		Region:       "us-east-1",
		HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: lonely, MaxIdleConnsPerHost: 20}},
		BaseEndpoint: aws.String(url),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, nil
		}),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
			o.RateLimiter = noLimit{}
		}),
	})
}

// noLimit lets the client try again as often as it likes.
type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

func (f *fake) chance(p float64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < p
}

func (f *fake) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

// askedSince are the calls of FilterLogEvents behind the first n.
func (f *fake) askedSince(n int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked[n:])
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "Logs_20140328.")
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls[call]++
	if call == "FilterLogEvents" {
		f.times = append(f.times, time.Now())
		f.asked = append(f.asked, r.Header.Get("Amz-Sdk-Request")+" "+string(body))
	}
	f.mu.Unlock()
	var in request
	if err = errors.Join(err, json.Unmarshal(body, &in)); err != nil {
		refuse(w, "SerializationException", err.Error())
		return
	}
	switch {
	case f.answer != nil && f.answer(w, call, &in):
	case f.chance(f.throttled):
		refuse(w, "ThrottlingException", "Rate exceeded")
	case f.chance(f.failing):
		w.WriteHeader(http.StatusInternalServerError)
	case f.chance(f.cut):
		w.Header().Set("Content-Length", "100000")
		fmt.Fprint(w, `{"events":[{"mess`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		f.serve(w, call, &in)
	}
}

func (f *fake) serve(w http.ResponseWriter, call string, in *request) {
	if call == "DescribeLogGroups" {
		f.describeGroups(w, in)
		return
	}
	if (in.LogGroupName == nil) == (in.LogGroupIdentifier == nil) {
		refuse(w, "InvalidParameterException", "either logGroupName or logGroupIdentifier")
		return
	}
	name := aws.ToString(in.LogGroupName) + aws.ToString(in.LogGroupIdentifier)
	if name[strings.LastIndex(name, ":")+1:] != f.group {
		refuse(w, "ResourceNotFoundException", "The specified log group does not exist.")
		return
	}
	switch call {
	case "FilterLogEvents":
		f.filter(w, in)
	case "DescribeLogStreams":
		f.describeStreams(w, in)
	default:
		f.t.Errorf("unexpected call of %s", call)
		refuse(w, "UnknownOperationException", call)
	}
}

func (f *fake) describeGroups(w http.ResponseWriter, in *request) {
	var groups []map[string]any
	if strings.HasPrefix(f.group, in.LogGroupNamePrefix) && strings.Contains(f.group, in.LogGroupNamePattern) {
		g := map[string]any{"logGroupName": f.group, "creationTime": f.created}
		if f.retention > 0 {
			g["retentionInDays"] = f.retention
		}
		groups = append(groups, g)
	}
	respond(w, map[string]any{"logGroups": groups})
}

func (f *fake) describeStreams(w http.ResponseWriter, in *request) {
	var streams []map[string]any
	for _, e := range f.events {
		if strings.HasPrefix(e.Stream, in.LogStreamNamePrefix) {
			streams = append(streams, map[string]any{"logStreamName": e.Stream})
			break
		}
	}
	respond(w, map[string]any{"logStreams": streams})
}

func (f *fake) filter(w http.ResponseWriter, in *request) {
	from, to := aws.ToInt64(in.StartTime), aws.ToInt64(in.EndTime)
	query := fmt.Sprintf("%d-%d-%s-%d", from, to, in.LogStreamNamePrefix, in.Limit)
	if in.StartTime == nil || in.EndTime == nil || from < 0 || to < from || in.Limit < 0 || in.Limit > 10_000 {
		f.t.Errorf("FilterLogEvents of %s", query)
		refuse(w, "InvalidParameterException", "time range or limit")
		return
	}
	at, turn := f.index(from), 0
	if in.NextToken != "" {
		var of string
		if _, err := fmt.Sscanf(in.NextToken, "%d/%d/%d/%s", new(int), &at, &turn, &of); err != nil || of != query || f.hasExpired(in.NextToken) {
			refuse(w, "InvalidParameterException", "The specified nextToken is invalid.")
			return
		}
	}
	page, next := f.page(in, at, f.index(to+1), turn, query)
	answer := map[string]any{"events": page, "searchedLogStreams": []any{}}
	if next >= 0 {
		answer["nextToken"] = fmt.Sprintf("%d/%d/%d/%s", f.count("FilterLogEvents"), next, turn+1, query)
	}
	respond(w, answer)
}

// index returns the index of the first event of time at or later.
func (f *fake) index(at int64) int {
	i, _ := slices.BinarySearchFunc(f.events, at, func(e fakeEvent, at int64) int { return cmp.Compare(e.Time, at) })
	return i
}

// hasExpired reports whether a token has expired; if so, for ever.
func (f *fake) hasExpired(token string) bool {
	expires := f.chance(f.expired)
	f.mu.Lock()
	defer f.mu.Unlock()
	if expires {
		f.bad = append(f.bad, token)
	}
	return slices.Contains(f.bad, token)
}

// page returns the events of a page, and the index at which the next goes on;
// -1 when this was the last.
func (f *fake) page(in *request, at, end, turn int, query string) ([]fakeEvent, int) {
	h := fnv.New64a()
	fmt.Fprint(h, query, at, turn)
	rng := rand.New(rand.NewPCG(f.seed, h.Sum64()))
	page := []fakeEvent{}
	if rng.Float64() < f.emptyPage {
		return page, at
	}
	room := f.pageEvents
	if in.Limit > 0 {
		room = min(room, in.Limit)
	}
	if rng.Float64() < f.shortPage {
		room = 1 + rng.IntN(room)
	}
	bytes := 0
	for ; at < end; at++ {
		e := f.events[at]
		if !strings.HasPrefix(e.Stream, in.LogStreamNamePrefix) {
			continue
		}
		if bytes += len(e.Message) + eventOverhead; len(page) == room || bytes > pageBytes {
			return page, at
		}
		page = append(page, e)
	}
	if rng.Float64() < f.emptyPage {
		return page, at // and there is nothing more, but that shows later
	}
	return page, -1
}

func respond(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}
