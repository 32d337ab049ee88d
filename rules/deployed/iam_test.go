package deployed

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// iamDoc is the page on permissions.
const iamDoc = "../../docs/iam.md"

type policy struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource any // a text or a list
		Condition        map[string]map[string]any
	}
}

// policies reads the policies of the page, by the heading that they stand
// under, in order.
func policies(t *testing.T) map[string][]policy {
	t.Helper()
	page, err := os.ReadFile(iamDoc)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]policy{}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1) {
			d := json.NewDecoder(strings.NewReader(block[1]))
			d.DisallowUnknownFields()
			var p policy
			if err := d.Decode(&p); err != nil {
				t.Fatalf("%s: %v:\n%s", heading, err, block[1])
			}
			found[heading] = append(found[heading], p)
		}
	}
	return found
}

func actions(policies []policy) []string {
	var list []string
	for _, p := range policies {
		for _, s := range p.Statement {
			switch a := s.Action.(type) {
			case string:
				list = append(list, a)
			case []any:
				for _, x := range a {
					list = append(list, x.(string))
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// The page allows what a snapshot does, and nothing else.
func TestIAMActions(t *testing.T) {
	var want []string
	for m := range reflect.TypeFor[API]().Methods() {
		want = append(want, "ec2:"+m.Name)
	}
	slices.Sort(want)
	if got := actions(policies(t)["Snapshot"]); !slices.Equal(got, want) {
		t.Errorf("%s allows %q, want %q", iamDoc, got, want)
	}

	// No call is there for nothing: a snapshot makes each of them.
	f := network(1)
	f.refer(0, toList("pl-1"))
	f.PrefixListEntries["pl-1"] = nil
	if _, err := Read(t.Context(), f, Options{VPCs: []string{"vpc-0"}}); err != nil {
		t.Fatal(err)
	}
	var made []string
	for name := range f.made {
		made = append(made, "ec2:"+name)
	}
	slices.Sort(made)
	if !slices.Equal(made, want) {
		t.Errorf("a snapshot makes the calls %q, want %q", made, want)
	}
}

// The actions that the page calls optional are those without which Read
// goes on, and the rest those without which it does not.
func TestIAMOptional(t *testing.T) {
	page, err := os.ReadFile(iamDoc)
	if err != nil {
		t.Fatal(err)
	}
	for m := range reflect.TypeFor[API]().Methods() {
		f := network(1)
		f.refer(0, toList("pl-1"))
		f.PrefixListEntries["pl-1"] = nil
		f.errs = map[string]error{m.Name: denied("no")}
		_, err := Read(t.Context(), f, Options{VPCs: []string{aws.ToString(f.Subnets[0].VpcId)}})
		if optional := strings.Contains(string(page), "\n| `ec2:"+m.Name+"` | "); optional != (err == nil) {
			t.Errorf("%s: the page says that it is optional: %t; Read returns %v", m.Name, optional, err)
		}
	}
}

func TestIAMPolicies(t *testing.T) {
	found := policies(t)
	for heading, want := range map[string][]string{
		"Flow logs in S3":              {"kms:Decrypt", "s3:GetObject", "s3:ListBucket"},
		"Flow logs in CloudWatch Logs": {"ec2:DescribeFlowLogs", "logs:FilterLogEvents"},
	} {
		if got := actions(found[heading]); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", heading, got, want)
		}
	}
	for heading, list := range found {
		for _, p := range list {
			if p.Version != "2012-10-17" || len(p.Statement) == 0 {
				t.Errorf("%s: version %q, %d statements", heading, p.Version, len(p.Statement))
			}
			for _, s := range p.Statement {
				if s.Effect != "Allow" || s.Action == nil || s.Resource == nil {
					t.Errorf("%s: %+v", heading, s)
				}
			}
		}
	}
}
