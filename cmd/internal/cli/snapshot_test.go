package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ephemera/ingest"
	"ephemera/rules/deployed"
)

// interfaces is an EC2 that knows network interfaces, and their VPCs, only.
type interfaces struct {
	deployed.API
	vpcs map[string]string
}

func (e interfaces) DescribeNetworkInterfaces(_ context.Context, in *ec2.DescribeNetworkInterfacesInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	out := &ec2.DescribeNetworkInterfacesOutput{}
	for _, id := range in.Filters[0].Values {
		if vpc, known := e.vpcs[id]; known {
			out.NetworkInterfaces = append(out.NetworkInterfaces, types.NetworkInterface{NetworkInterfaceId: aws.String(id), VpcId: aws.String(vpc)})
		}
	}
	return out, nil
}

const v2header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n"

// at is a record of the default format at an interface.
func at(eni string) string {
	return "2 123456789012 " + eni + " 10.0.1.5 203.0.113.10 40000 21 6 1 44 1795370837 1795370861 ACCEPT OK\n"
}

func TestLoggedVPCs(t *testing.T) {
	api := interfaces{vpcs: map[string]string{"eni-1": "vpc-1", "eni-2": "vpc-2", "eni-3": "vpc-1"}}
	var many strings.Builder
	for k := range 12 {
		many.WriteString(at(fmt.Sprintf("eni-gone%02d", k)))
	}
	for _, test := range []struct{ log, want, warning, err string }{
		{v2header + at("eni-1") + at("eni-1") + at("eni-3"), "vpc-1", "", ""},
		{v2header + at("eni-2") + at("eni-1"), "vpc-1 vpc-2", "", ""},
		{v2header + at("eni-1") + at("eni-9"), "vpc-1", "1 of 2 in the log are not here any more, or of another account or region: eni-9", ""},
		{v2header + at("eni-1") + many.String(), "vpc-1", "12 of 13 in the log are not here any more, or of another account or region: eni-gone00, eni-gone01, eni-gone02, eni-gone03, eni-gone04, eni-gone05, eni-gone06, eni-gone07, eni-gone08, eni-gone09 and 2 more", ""},
		{v2header + at("eni-9"), "", "", "none of the 1 network interfaces is here; check the region and the account, or give --vpc"},
		{v2header + at("-"), "", "", "no record says where it was written; give --vpc"},
		{v2header + "2 123456789012 eni-1 broken\n" + at("eni-2"), "vpc-2", "bad record skipped", ""},
		{"version vpc-id interface-id start end log-status\n5 vpc-7 eni-9 1795370837 1795370861 OK\n5 vpc-7 eni-8 1795370837 1795370861 NODATA\n", "vpc-7", "", ""},
		{"version vpc-id interface-id start end log-status\n5 - eni-1 1795370837 1795370861 OK\n5 vpc-7 eni-8 1795370837 1795370861 OK\n", "vpc-1 vpc-7", "", ""},
	} {
		name := filepath.Join(t.TempDir(), "flows.log")
		if err := os.WriteFile(name, []byte(test.log), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		set := settings{ingest: ingest.Options{Want: whereabouts}, log: slog.New(slog.NewTextHandler(&log, nil))}
		vpcs, err := loggedVPCs(t.Context(), api, []string{name}, set)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got error %v, want %s", err, test.err)
			}
			continue
		}
		if got := strings.Join(vpcs, " "); err != nil || got != test.want {
			t.Errorf("got %s, error %v, want %s:\n%s", got, err, test.want, test.log)
		}
		if !strings.Contains(log.String(), test.warning) || test.warning == "" && log.Len() > 0 {
			t.Errorf("it says %s, want %q", &log, test.warning)
		}
	}
}

// Ctrl-C ends a snapshot at once, whatever EC2 is doing, and leaves nothing.
func TestSnapshotIsCancelled(t *testing.T) {
	cleanAWS(t, profiles)
	asked := make(chan bool, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		// The server sees that the client is gone only after the body.
		io.Copy(io.Discard, r.Body)
		asked <- true
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	go func() {
		<-asked
		cancelled = time.Now()
		cancel()
	}()
	dir := filepath.Join(t.TempDir(), "network")
	var errs strings.Builder
	code := Main(ctx, []string{"snapshot", "--endpoint-url", server.URL, "--out", dir}, Streams{Err: &errs})
	if code != ExitFailed || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	if d := time.Since(cancelled); d > time.Second {
		t.Errorf("it ends %v after it was cancelled", d)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is there (%v)", dir, err)
	}
}

func TestWriteSnapshot(t *testing.T) {
	s := &deployed.Snapshot{
		NetworkACLs: make([]types.NetworkAcl, 2), SecurityGroups: make([]types.SecurityGroup, 1234),
		RouteTables: []types.RouteTable{}, PrefixListEntries: map[string][]types.PrefixListEntry{"pl-1": nil},
	}
	for _, test := range []struct {
		saved deployed.Saved
		want  []string
	}{
		{deployed.Saved{Dir: "network/2026-11-22T10:00:00Z"}, []string{
			"network/2026-11-22T10:00:00Z", "       2 network ACLs", "    1234 security groups", "       0 subnets", "       0 network interfaces",
			"       ? NAT gateways", "       0 route tables", "       1 prefix lists", "       ? flow logs", "next: ephemera analyze --network network SOURCE...",
		}},
		{deployed.Saved{Dir: "network/2026-11-22T10:00:00Z", Unchanged: true}, []string{"unchanged since network/2026-11-22T10:00:00Z"}},
	} {
		var out strings.Builder
		if err := writeSnapshot(&out, s, test.saved, "network"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
