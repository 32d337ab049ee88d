# The parameters of template.yaml under the same names; name stands for the
# stack's, and zip for where the code was uploaded to.

variable "name" {
  description = "What the names of all that is made begin with."
  type        = string
  default     = "ephemera"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,29}$", var.name))
    error_message = "It begins with a letter, and has letters, digits and hyphens, 30 at most."
  }
}

variable "zip" {
  description = "File that make package wrote for the architecture: dist/ephemera-lambda-arm64.zip."
  type        = string
}

variable "architecture" {
  description = "What the zip was built for."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "It is arm64 or x86_64."
  }
}

variable "log_bucket" {
  description = "Bucket with the flow logs, in this region and account, with EventBridge notifications on."
  type        = string
}

variable "log_prefix" {
  description = "What the flow logs' keys begin with."
  type        = string
  default     = "AWSLogs/"

  validation {
    condition     = can(regex("^[^*?$]+$", var.log_prefix))
    error_message = "It is not empty, and has none of * ? $."
  }
}

variable "log_key_arn" {
  description = "ARN of the KMS key that the flow logs are encrypted with. Empty for SSE-S3."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+)?$", var.log_key_arn))
    error_message = "It is the ARN of a key, not of an alias."
  }
}

variable "log_group" {
  description = "Log group with flow logs, to be read by a subscription as well. Empty for none."
  type        = string
  default     = ""
}

variable "format" {
  description = "Fields of the flow logs in the log group, as in LogFormat. Empty, or \"default\", for the default ones."
  type        = string
  default     = ""
}

variable "result_bucket" {
  description = "Bucket for digests and reports. Empty to make one."
  type        = string
  default     = ""
}

variable "network_prefix" {
  description = "What the keys of network snapshots in the bucket for reports begin with, such as network/. Empty for no snapshots."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([^*?$]+/)?$", var.network_prefix))
    error_message = "It is empty or ends with a slash, and has none of * ? $."
  }
}

variable "schedule" {
  description = "When the report is rebuilt, as a rate or cron expression of EventBridge."
  type        = string
  default     = "rate(15 minutes)"
}

variable "days" {
  description = "How many days the report covers; 0 for all digests that are kept."
  type        = number
  default     = 7

  validation {
    condition     = var.days >= 0
    error_message = "It is 0 or more."
  }
}

variable "control_ports" {
  description = "Ports of FTP control connections, comma-separated. Empty for 21 and 990."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*(,[0-9]+)*$", var.control_ports))
    error_message = "They are numbers with commas between them."
  }
}

variable "passive_ranges" {
  description = "Passive ranges that servers are known to have, comma-separated, as in --passive-range."
  type        = string
  default     = ""
}

variable "alert_email" {
  description = "Address that alerts and alarms are sent to, once it has confirmed. Empty for none."
  type        = string
  default     = ""
}

variable "overdue_after" {
  description = "Seconds without a run of the report after which an alarm is raised. More than the schedule's interval."
  type        = number
  default     = 3600

  validation {
    condition     = contains([3600, 7200, 21600, 43200, 86400], var.overdue_after)
    error_message = "It is 3600, 7200, 21600, 43200 or 86400."
  }
}

variable "digest_concurrency" {
  description = "How many digest functions run at the same time at most."
  type        = number
  default     = 10

  validation {
    condition     = var.digest_concurrency >= 2 && var.digest_concurrency <= 1000
    error_message = "It is from 2 to 1000."
  }
}

variable "keep_digests" {
  description = "Days after which a digest is deleted. More than the report covers."
  type        = number
  default     = 90
}

variable "keep_reports" {
  description = "Days after which a dated report is deleted. The latest one stays."
  type        = number
  default     = 30
}

variable "keep_function_logs" {
  description = "Days for which the functions' own logs are kept."
  type        = number
  default     = 30
}

variable "log_level" {
  description = "From which level on the functions log."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["debug", "info", "warn", "error"], var.log_level)
    error_message = "It is debug, info, warn or error."
  }
}
