"""All pages there are."""

from app.web import (
    accounts,
    admin,
    analytics,
    history,
    home,
    passwords,
    preparation,
    settings,
    signing_in,
    tasks,
    today,
    topics,
    training,
)

ROUTERS = (
    home.welcome,
    home.router,
    signing_in.router,
    passwords.router,
    today.router,
    analytics.router,
    tasks.router,
    history.router,
    preparation.router,
    training.router,
    settings.router,
    admin.router,
    topics.router,
    accounts.router,
)
