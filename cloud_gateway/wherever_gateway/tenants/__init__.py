"""Who may do what, and how much: rules for tenants, quotas, and calls that come again."""
