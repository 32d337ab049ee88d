// Package deploy holds tests of how the Lambda function is deployed: that the
// SAM template and the Terraform module in cmd/ephemera-lambda make the same
// things, that these fit together, and that the function understands the
// settings that it is given.
//
// Both are evaluated for a set of parameters, far enough to tell what would be
// made: template_test.go and module_test.go are the two evaluators, and
// facts_test.go brings what they find into one form. A reference to something
// that AWS will name is the name that it has here:
//
//	!GetAtt Notices.Arn, aws_sqs_queue.notices.arn    arn:notices
//	!Ref Notices, aws_sqs_queue.notices.url           https://notices
//	!Ref Results, aws_s3_bucket.results[0].bucket     results.bucket
//
// Whether AWS takes what is written here is not known before it is deployed;
// make template asks cfn-lint and the SAM translator about the template.
package deploy
