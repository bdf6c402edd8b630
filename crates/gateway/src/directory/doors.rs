//! The directory's doors: the operator's, and a tenant's for its own aliases.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ledger::{Key, Time};
use tonic::{Request, Response, Status};
use wire::convert::{Behalf, Refusal, ToIntent, account_name, named_account, read_alias};
use wire::proto::v1;
use wire::proto::v1::directory_server::Directory;
use wire::status;

use crate::api_key::ApiKey;
use crate::auth::Grant;
use crate::deadline;
use crate::directory::Follower;
use crate::grpc::Doors;

/// The doors.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryDoors {
    pub(crate) doors: Arc<Doors>,
    pub(crate) follower: Arc<Follower>,
}

impl DirectoryDoors {
    fn grant<T>(&self, call: &Request<T>) -> Result<Grant, Status> {
        let grant = self.doors.access.grant_call(call.metadata()).map_err(refused)?;
        grant.charge_one().map_err(status::rate_limited)?;
        Ok(grant)
    }

    fn operator<T>(&self, call: &Request<T>) -> Result<Grant, Status> {
        let grant = self.grant(call)?;
        grant.check_operates().map_err(refused)?;
        Ok(grant)
    }

    /// Asks for a change, and sees it before it answers.
    async fn change<T: ToIntent>(
        &self,
        grant: &Grant,
        call: &Request<T>,
    ) -> Result<Response<v1::Posted>, Status> {
        let deadline = deadline::of_call(call.metadata());
        let intent = grant.read(call.get_ref());
        let posted = self.doors.carry_out(intent, deadline).await?;
        self.see(deadline).await;
        Ok(Response::new(posted))
    }

    /// What was decided is decided, even when it cannot be seen here yet.
    async fn see(&self, deadline: runtime::Instant) {
        if let Err(why) = self.follower.look(deadline).await {
            tracing::warn!(%why, "a change was made, but could not be read yet");
        }
    }
}

#[tonic::async_trait]
impl Directory for DirectoryDoors {
    async fn get_directory(
        &self,
        call: Request<v1::GetDirectoryRequest>,
    ) -> Result<Response<v1::GetDirectoryResponse>, Status> {
        self.operator(&call)?;
        self.follower.look(deadline::of_call(call.metadata())).await?;
        Ok(Response::new(wire::convert::directory(&self.follower.known())))
    }

    async fn put_tenant(
        &self,
        call: Request<v1::PutTenantRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.change(&self.operator(&call)?, &call).await
    }

    async fn create_api_key(
        &self,
        call: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Status> {
        self.operator(&call)?;
        let deadline = deadline::of_call(call.metadata());
        let keyring = self.doors.access.keys.as_ref();
        // Without a secret of its own a gateway can make no key that another one would know.
        let keyring = keyring.ok_or_else(|| refused(Refusal::KeysAbsent))?.now();
        let secret = ApiKey::random();
        let secret = secret.map_err(|_| status::failure(wire::Failure::Overloaded, None))?;
        let mac = keyring.mac(&secret);
        let key = Key::from_uuid_v7(uuid::Uuid::now_v7().as_u128()).expect("a UUIDv7 is a key");
        let wanted = call.into_inner().api_key.unwrap_or_default();
        let intent = wire::convert::api_key_intent(&wanted, *mac.bytes(), key);
        self.doors.carry_out(intent, deadline).await?;
        self.see(deadline).await;
        Ok(Response::new(v1::CreateApiKeyResponse { secret: secret.reveal() }))
    }

    async fn revoke_api_key(
        &self,
        call: Request<v1::RevokeApiKeyRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.change(&self.operator(&call)?, &call).await
    }

    async fn put_alias(
        &self,
        call: Request<v1::PutAliasRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        let grant = self.grant(&call)?;
        grant.check_moves().map_err(refused)?;
        self.change(&grant, &call).await
    }

    async fn delete_alias(
        &self,
        call: Request<v1::DeleteAliasRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        let grant = self.grant(&call)?;
        grant.check_moves().map_err(refused)?;
        self.change(&grant, &call).await
    }

    async fn get_alias(
        &self,
        call: Request<v1::GetAliasRequest>,
    ) -> Result<Response<v1::Alias>, Status> {
        let grant = self.grant(&call)?;
        let alias = call.into_inner().alias;
        if read_alias(&alias).is_none() {
            let wrong = "`acc_` and 1 to 64 letters, digits, `_`, `-`, `.`";
            return Err(refused(Refusal::field("alias", wrong)));
        }
        // What was just named elsewhere is worth another look.
        let known = |grant: &Grant, follower: &Follower| {
            let directory = follower.known();
            named_account("alias", &alias, Behalf::new(grant.tenant, &directory))
        };
        let mut account = known(&grant, &self.follower);
        if account.is_err() {
            let now = runtime::Instant::now();
            let soon = now.checked_add(super::LOOK_MAX).unwrap_or(now);
            self.see(soon).await;
            account = known(&grant, &self.follower);
        }
        let account = account_name(account.map_err(refused)?);
        Ok(Response::new(v1::Alias { alias, account }))
    }

    async fn publish_table(
        &self,
        call: Request<v1::PublishTableRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        let grant = self.operator(&call)?;
        let content = call.get_ref().table.as_ref().map_or("", |table| &table.content);
        if serde_json::from_str::<serde::de::IgnoredAny>(content).is_err() {
            return Err(refused(Refusal::field("table.content", "a JSON document")));
        }
        self.change(&grant, &call).await
    }

    async fn withdraw_table(
        &self,
        call: Request<v1::WithdrawTableRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.change(&self.operator(&call)?, &call).await
    }

    async fn get_table(
        &self,
        call: Request<v1::GetTableRequest>,
    ) -> Result<Response<v1::Table>, Status> {
        self.operator(&call)?;
        self.follower.look(deadline::of_call(call.metadata())).await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let table = wire::convert::table(&self.follower.known(), call.get_ref(), now);
        let table = table.map_err(refused)?.ok_or(Refusal::TableNotFound);
        table.map(Response::new).map_err(refused)
    }

    async fn raise_level(
        &self,
        call: Request<v1::RaiseLevelRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.change(&self.operator(&call)?, &call).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn refused(refusal: Refusal) -> Status {
    status::refusal(&refusal)
}
