//go:build real

package deployed

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// cliNames prints the names of all keys that the AWS CLI can print for each
// call, by the model that it works by, as paths below the list.
const cliNames = `
import botocore.session, json
model = botocore.session.get_session().get_service_model("ec2")
def paths(shape, above):
    if shape.type_name == "list":
        yield from paths(shape.member, above)
    elif shape.type_name == "structure":
        for name, member in shape.members.items():
            yield above + name
            yield from paths(member, above + name + ".")
print(json.dumps({name: {key: list(paths(member, "")) for key, member in model.operation_model(name).output_shape.members.items()}
    for name in model.operation_names if name.startswith("Describe") or name.startswith("GetManaged")}))
`

// The SDK names every field as the CLI does, those included that no test
// server sends.
func TestNamesAreTheCLIs(t *testing.T) {
	moto := os.Getenv("EPHEMERA_MOTO")
	if moto == "" {
		t.Fatal("EPHEMERA_MOTO is not set: run make real")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(moto), "python"), "-c", cliNames).Output()
	if err != nil {
		t.Fatal(err)
	}
	var names map[string]map[string][]string // by call and key
	if err := json.Unmarshal(out, &names); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		call, key string
		item      reflect.Type
	}{
		{"DescribeNetworkAcls", "NetworkAcls", reflect.TypeFor[types.NetworkAcl]()},
		{"DescribeSecurityGroups", "SecurityGroups", reflect.TypeFor[types.SecurityGroup]()},
		{"DescribeNetworkInterfaces", "NetworkInterfaces", reflect.TypeFor[types.NetworkInterface]()},
		{"DescribeSubnets", "Subnets", reflect.TypeFor[types.Subnet]()},
		{"DescribeNatGateways", "NatGateways", reflect.TypeFor[types.NatGateway]()},
		{"DescribeRouteTables", "RouteTables", reflect.TypeFor[types.RouteTable]()},
		{"DescribeFlowLogs", "FlowLogs", reflect.TypeFor[types.FlowLog]()},
		{"DescribeManagedPrefixLists", "PrefixLists", reflect.TypeFor[types.ManagedPrefixList]()},
		{"GetManagedPrefixListEntries", "Entries", reflect.TypeFor[types.PrefixListEntry]()},
	} {
		got, want := paths(test.item, ""), names[test.call][test.key]
		slices.Sort(got)
		slices.Sort(want)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: the SDK names\n%s\nthe CLI\n%s", test.call, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
}

// paths are the names of a type's fields, as shape writes them.
func paths(item reflect.Type, above string) []string {
	for item.Kind() == reflect.Pointer || item.Kind() == reflect.Slice {
		item = item.Elem()
	}
	if item.Kind() != reflect.Struct || item == reflect.TypeFor[time.Time]() {
		return nil
	}
	var found []string
	for k := range item.NumField() {
		if f := item.Field(k); f.IsExported() {
			found = append(found, above+f.Name)
			found = append(found, paths(f.Type, above+f.Name+".")...)
		}
	}
	return found
}
