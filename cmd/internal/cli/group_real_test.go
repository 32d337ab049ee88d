//go:build real

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ephemera/ingest/sourcetest"
)

// emptyPages stands in front of moto and answers every second request for a
// page with an empty one and a token, as the API documentation allows and
// moto never does. It also asks moto for the order that AWS always gives.
type emptyPages struct {
	httputil.ReverseProxy
	n atomic.Int64
}

func newEmptyPages(t *testing.T, moto string) (*emptyPages, string) {
	u, err := url.Parse(moto)
	if err != nil {
		t.Fatal(err)
	}
	p := &emptyPages{ReverseProxy: httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server.URL
}

func (p *emptyPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".FilterLogEvents") {
		p.ReverseProxy.ServeHTTP(w, r)
		return
	}
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const mark = "after an empty page "
	token, _ := in["nextToken"].(string)
	after, marked := strings.CutPrefix(token, mark)
	if !marked && p.n.Add(1)%2 == 0 {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(map[string]any{"events": []any{}, "nextToken": mark + token})
		return
	}
	if marked {
		in["nextToken"] = after
	}
	if in["nextToken"] == "" {
		delete(in, "nextToken")
	}
	in["interleaved"] = true
	body, _ := json.Marshal(in) // it was JSON
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	p.ReverseProxy.ServeHTTP(w, r)
}

// publish puts lines into a log group, a stream for each network interface,
// as a flow log of the format does, and makes that flow log.
func publish(t *testing.T, cfg aws.Config, group, format string, lines []string) {
	t.Helper()
	ctx := t.Context()
	logs := cloudwatchlogs.NewFromConfig(cfg)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group})
	must(err)
	streams := map[string][]types.InputLogEvent{}
	for _, line := range lines {
		words := strings.Fields(line)
		start, err := strconv.ParseInt(words[10], 10, 64)
		must(err)
		stream := words[2] + "-all"
		streams[stream] = append(streams[stream], types.InputLogEvent{Timestamp: aws.Int64(start * 1000), Message: aws.String(line)})
	}
	for stream, events := range streams {
		_, err := logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream})
		must(err)
		slices.SortStableFunc(events, func(a, b types.InputLogEvent) int { return int(*a.Timestamp - *b.Timestamp) })
		for batch := range slices.Chunk(events, 5000) {
			_, err := logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: batch})
			must(err)
		}
	}
	network := ec2.NewFromConfig(cfg)
	vpc, err := network.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	must(err)
	made, err := network.CreateFlowLogs(ctx, &ec2.CreateFlowLogsInput{
		ResourceType: ec2types.FlowLogsResourceTypeVpc, ResourceIds: []string{*vpc.Vpc.VpcId}, TrafficType: ec2types.TrafficTypeAll,
		LogDestinationType: ec2types.LogDestinationTypeCloudWatchLogs, LogGroupName: &group, LogFormat: &format,
		DeliverLogsPermissionArn: aws.String("arn:aws:iam::123456789012:role/flow-logs"),
	})
	must(err)
	if len(made.FlowLogIds) != 1 {
		t.Fatalf("the flow log was not made: %v", made.Unsuccessful)
	}
}

// The report over a log group is that over the same records in files, byte
// for byte, with the format from the flow log, and empty pages on the way.
func TestGroupAsFiles(t *testing.T) {
	signedIn(t)
	g := traffic{perHour: 1000, begin: time.Now().UTC().Truncate(time.Hour).Add(-26 * time.Hour)}
	dir := t.TempDir()
	var lines []string
	for n := range 24 * 3600 / trafficStep {
		lines = append(lines, g.object(n)...)
	}
	if len(lines) < 100_000 {
		t.Fatalf("only %d records", len(lines))
	}
	// Files do not tell which flow log they are of, as log groups do not.
	for n, chunk := range slices.Collect(slices.Chunk(lines, 10_000)) {
		writeFile(t, filepath.Join(dir, fmt.Sprintf("%03d.log.gz", n)), asText(t, chunk))
	}
	proxy, url := newEmptyPages(t, sourcetest.Moto(t))
	flags := awsFlags{endpointURL: url}
	cfg, err := flags.config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const group = "vpc/flow-logs"
	publish(t, cfg, group, "${"+strings.ReplaceAll(trafficHeader, " ", "} ${")+"}", lines)

	want := reports(t, dir)
	if !strings.Contains(want["sessions.csv"], "203.0.113.10,21") {
		t.Fatal("there is no session in these logs")
	}
	sameReports(t, "from CloudWatch Logs", reports(t, "cloudwatch:"+group, "--endpoint-url", url), want)
	if n := proxy.n.Load(); n < 10 {
		t.Errorf("%d pages, every second one of them empty: want more", n)
	}

	from := g.begin.Add(5 * time.Hour).Format(time.RFC3339)
	to := g.begin.Add(7*time.Hour + time.Minute).Format(time.RFC3339)
	want = reports(t, dir, "--from", from, "--to", to)
	sameReports(t, "two hours", reports(t, "cloudwatch:"+group, "--endpoint-url", url, "--from", from, "--to", to), want)
}
