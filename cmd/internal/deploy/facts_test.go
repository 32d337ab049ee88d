package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What AWS would fill in.
const (
	name      = "ephemera"
	partition = "aws"
	urlSuffix = "amazonaws.com"
	region    = "eu-west-1"
	account   = "123456789012"
)

// reference is what stands for an attribute of a resource, which AWS will name.
// A URL and an ARN look like ones.
func reference(resource, attribute string) string {
	switch attribute {
	case "arn":
		return "arn:" + resource
	case "url":
		return "https://" + resource
	}
	return resource + "." + attribute
}

// A resource is one that is made: its type and properties as its language
// writes them, and its name in snake case.
type resource struct {
	kind, name string
	properties map[string]any
}

// facts are what is made: "notices.visibility_timeout" is "1800". The names are
// the template's in snake case. A statement of a policy is one fact.
type facts map[string]string

// factsOf brings what is made into one form.
func factsOf(made []resource) facts {
	f := facts{}
	for _, r := range made {
		if r.kind == "AWS::CloudWatch::Alarm" { // a list of Name and Value, a map in Terraform
			d := r.properties["Dimensions"].([]any)[0].(map[string]any)
			r.properties["Dimensions"] = map[string]any{d["Name"].(string): d["Value"]}
		}
		f.add(r, "", r.properties)
	}
	return f
}

// documents are properties that are JSON, in Terraform as text.
var documents = []string{"policy", "policy_document", "assume_role_policy", "assume_role_policy_document", "event_pattern", "redrive_policy"}

func (f facts) add(r resource, path string, v any) {
	switch last := path[strings.LastIndexByte(path, '.')+1:]; {
	case slices.Contains(documents, last):
		f.document(r, path, v)
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			f.add(r, join(path, snake(key)), e)
		}
	case []any:
		for i, e := range v {
			if len(v) == 1 {
				f.add(r, path, e)
			} else {
				f.add(r, join(path, strconv.Itoa(i)), e)
			}
		}
	case string:
		f.put(r, path, v)
	default:
		panic(fmt.Sprintf("%s.%s is a %T", r.name, path, v))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// put notes a fact under the template's name for it.
func (f facts) put(r resource, path, value string) {
	path = templatePath(r, path)
	if path == "" {
		return
	}
	key := r.name + "." + path
	if old, ok := f[key]; ok && old != value {
		panic(fmt.Sprintf("%s is both %s and %s", key, old, value))
	}
	f[key] = value
}

// document notes a document in JSON: each statement of a policy under its Sid,
// anything else as a whole.
func (f facts) document(r resource, path string, v any) {
	if text, ok := v.(string); ok {
		v = nil
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			panic(fmt.Sprintf("%s.%s: %v", r.name, path, err))
		}
	}
	m, _ := v.(map[string]any)
	statements, ok := m["Statement"].([]any)
	if !ok {
		f.put(r, path, canonical(v, false))
		return
	}
	f.put(r, path+".version", m["Version"].(string))
	for i, s := range statements {
		statement := s.(map[string]any)
		id, ok := statement["Sid"].(string)
		if !ok {
			id = strconv.Itoa(i)
		}
		for _, key := range []string{"Action", "Resource"} {
			if list, ok := statement[key].([]any); ok {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
		}
		f.put(r, path+"."+id, canonical(statement, true))
	}
}

// canonical is v as JSON, with its keys in order and its numbers as strings. In
// a policy, a list of one means that one.
func canonical(v any, policy bool) string {
	b, err := json.Marshal(simple(v, policy))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func simple(v any, policy bool) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, e := range v {
			m[key] = simple(e, policy)
		}
		return m
	case []any:
		if policy && len(v) == 1 {
			return simple(v[0], policy)
		}
		list := []any{}
		for _, e := range v {
			list = append(list, simple(e, policy))
		}
		return list
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return v
}

// snake writes a name in CamelCase as snake_case: MessageRetentionPeriod as
// message_retention_period. Names in capitals, those of the environment, stay.
func snake(s string) string {
	if s == strings.ToUpper(s) {
		return s
	}
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// A renaming is one of a Terraform resource's arguments to what the template
// calls it. An argument that begins with from is meant; to "" means that the
// template has none such, for the reason that is given.
type renaming struct{ kind, from, to, why string }

var renamings = []renaming{
	{"aws_s3_bucket", "bucket_prefix", "", "CloudFormation makes up a name"},
	{"aws_s3_bucket_server_side_encryption_configuration", "bucket", "", "it is the resource itself"},
	{"aws_s3_bucket_server_side_encryption_configuration", "rule.apply_server_side_encryption_by_default",
		"bucket_encryption.server_side_encryption_configuration.server_side_encryption_by_default", ""},
	{"aws_s3_bucket_public_access_block", "bucket", "", "it is the resource itself"},
	{"aws_s3_bucket_public_access_block", "block_", "public_access_block_configuration.block_", ""},
	{"aws_s3_bucket_public_access_block", "ignore_", "public_access_block_configuration.ignore_", ""},
	{"aws_s3_bucket_public_access_block", "restrict_", "public_access_block_configuration.restrict_", ""},
	{"aws_s3_bucket_ownership_controls", "bucket", "", "it is the resource itself"},
	{"aws_s3_bucket_ownership_controls", "rule", "ownership_controls.rules", ""},
	{"aws_s3_bucket_lifecycle_configuration", "bucket", "", "it is the resource itself"},
	{"aws_s3_bucket_lifecycle_configuration", "rule", "lifecycle_configuration.rules", ""},
	{"aws_s3_bucket_policy", "policy", "policy_document", ""},
	{"aws_sqs_queue", "name", "queue_name", ""},
	{"aws_sqs_queue", "visibility_timeout_seconds", "visibility_timeout", ""},
	{"aws_sqs_queue", "message_retention_seconds", "message_retention_period", ""},
	{"aws_sqs_queue_policy", "queue_url", "queues", ""},
	{"aws_sqs_queue_policy", "policy", "policy_document", ""},
	{"aws_cloudwatch_event_target", "rule", "", "it is the resource itself"},
	{"aws_cloudwatch_event_target", "target_id", "targets.id", ""},
	{"aws_cloudwatch_event_target", "arn", "targets.arn", ""},
	{"aws_cloudwatch_event_target", "dead_letter_config", "targets.dead_letter_config", ""},
	{"aws_cloudwatch_event_rule", "schedule_expression", "schedule", ""},
	{"aws_lambda_function", "filename", "", "CloudFormation takes the code from a bucket"},
	{"aws_lambda_function", "source_code_hash", "", "CloudFormation takes the code from a bucket"},
	{"aws_lambda_function", "logging_config.log_format", "", "it is CloudFormation's default, which Terraform has none of"},
	{"aws_lambda_event_source_mapping", "event_source_arn", "queue", ""},
	{"aws_cloudwatch_log_group", "name", "log_group_name", ""},
	{"aws_cloudwatch_log_subscription_filter", "name", "filter_name", ""},
	{"aws_iam_role", "assume_role_policy", "assume_role_policy_document", ""},
	{"aws_iam_role_policy", "role", "", "it is the resource itself"},
	{"aws_iam_role_policy", "name", "policies.policy_name", ""},
	{"aws_iam_role_policy", "policy", "policies.policy_document", ""},
	{"aws_sns_topic", "name", "topic_name", ""},
	{"aws_sns_topic_policy", "arn", "topics", ""},
	{"aws_sns_topic_policy", "policy", "policy_document", ""},
}

// templatePath is the template's name for a property; "" if it has none.
func templatePath(r resource, path string) string {
	if r.name == "report_schedule" && (path == "name" || path == "target_id") {
		return "" // SAM makes up names
	}
	for _, n := range renamings {
		rest, ok := strings.CutPrefix(path, n.from)
		if n.kind != r.kind || !ok || !strings.HasSuffix(n.from, "_") && rest != "" && rest[0] != '.' {
			continue
		}
		if n.to == "" {
			return ""
		}
		path = n.to + rest
		break
	}
	if r.kind == "aws_s3_bucket_lifecycle_configuration" {
		path = strings.NewReplacer(".filter.prefix", ".prefix", ".expiration.days", ".expiration_in_days").Replace(path)
	}
	return path
}
