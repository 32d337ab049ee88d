package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const records = `version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status
2 123456789012 eni-0a 10.0.1.5 203.0.113.10 40000 21 6 12 712 1795370837 1795370861 ACCEPT OK
2 123456789012 eni-0a 203.0.113.10 10.0.1.5 21 40000 6 10 900 1795370837 1795370861 ACCEPT OK
2 123456789012 eni-0a 10.0.1.9 10.0.1.5 5000 23 6 1 40 1795370840 1795370840 REJECT OK
`

// TestRun runs the program as a user does.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	logs, subnets, out := filepath.Join(dir, "a.log"), filepath.Join(dir, "subnets.csv"), filepath.Join(dir, "out")
	for name, text := range map[string]string{logs: records, subnets: "interface_id,subnet_id\neni-0a,subnet-1\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args         []string
		stdout, fail string
	}{
		{[]string{"decode", "--jobs", "1", logs}, "records 3\n", ""},
		{[]string{"aggregate", logs}, "rows 3 records 3 packets 23 bytes 1652 checksum 466679739114\n", ""},
		{[]string{"ask", "--subnets", subnets, "--out", out, logs}, "", ""},
		{nil, "", "usage: ours"},
		{[]string{"guess", logs}, "", `"guess" is no question`},
		{[]string{"decode"}, "", "0 places"},
		{[]string{"decode", logs, logs}, "", "2 places"},
		{[]string{"decode", "--fast", logs}, "", "-fast"},
		{[]string{"ask", logs}, "", "subnets"},
	} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), c.args, &stdout, &stderr)
		if (err != nil) != (c.fail != "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%q: got error %v, want %q", c.args, err, c.fail)
		}
		if stdout.String() != c.stdout {
			t.Errorf("%q: got %q, want %q", c.args, stdout.String(), c.stdout)
		}
	}
	for name, want := range map[string]string{
		"sessions.csv": `interface_id,srcaddr,dstaddr,srcport,dstport,action,records,packets,bytes,start,end
eni-0a,10.0.1.5,203.0.113.10,40000,21,ACCEPT,1,12,712,1795370837,1795370861
eni-0a,203.0.113.10,10.0.1.5,21,40000,ACCEPT,1,10,900,1795370837,1795370861
`,
		"rejects.csv": "interface_id,dstport,protocol,records,packets,bytes\neni-0a,23,6,1,1,40\n",
		"demand.csv":  "subnet_id,protocol,dstport,records\nsubnet-1,6,21,1\nsubnet-1,6,40000,1\n",
	} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"decode", logs}, &bytes.Buffer{}, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
