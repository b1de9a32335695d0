"""All pages there are."""

from app.web import (
    admin,
    admin_audit,
    admin_comparison,
    admin_runs,
    admin_versions,
    analytics,
    home,
    keys,
    own_data,
    preparation_page,
    settings_page,
    signing_in,
    tasks,
    today,
    training,
)

ROUTERS = (
    home.welcome,
    home.router,
    signing_in.router,
    today.router,
    analytics.router,
    tasks.router,
    preparation_page.router,
    training.router,
    settings_page.router,
    own_data.router,
    keys.router,
    admin.router,
    admin_versions.router,
    admin_runs.router,
    admin_comparison.router,
    admin_audit.router,
)
